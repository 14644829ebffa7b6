"""The one thread that does the work, started with the first event of each process."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from tocsin.app.queue import EventQueue
from tocsin.sources.agents_sdk.events import Event

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

POLL_S: Final = 0.05
"""How long an idle worker sleeps. Waking it from `put` would cost the user's thread more."""

YIELD_EVERY: Final = 8
"""Events between two offers of the GIL; holding on for a batch would delay the user's loop."""


MAX_LOGGED: Final = 10
"""Failures whose traceback is logged; later ones are only counted."""

FLUSH: Final = -1
"""Type of the event that marks how far a flush has to get."""


class Worker:
    """Takes events one by one and calls `tick` between them, at least every POLL_S.

    A fork leaves the child without a thread: the first event there starts a new one.
    """

    def __init__(
        self, queue: EventQueue, process: Callable[[Event], None], tick: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._process = process
        self._tick = tick
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.running = False
        self.errors = 0
        """Events and ticks that failed inside Tocsin."""

    def start(self) -> None:
        """Start the thread, unless it runs or the worker is closed."""
        with self._lock:
            if self.running or self._closed:
                return
            self._thread = threading.Thread(target=self._run, name="tocsin", daemon=True)
            self.running = True
            try:
                self._thread.start()
                self._queue.open()
            except RuntimeError as error:
                # The interpreter is shutting down, or the system has no threads left.
                self.running = False
                logger.debug("no worker thread: %s", error)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far is processed; False if time ran out.

        Safe from any thread; called on the worker's own it returns at once.
        """
        if threading.current_thread() is self._thread:
            return False
        if not self.running:
            if self._closed or not len(self._queue):
                return True
            self.start()
        done = threading.Event()
        self._queue.put_always((FLUSH, done, 0, None))
        return done.wait(timeout_s)

    def close(self, deadline_s: float) -> bool:
        """Process what is waiting, and stop; False if that was not done by `time.monotonic()`."""
        flushed = self.flush(left_s(deadline_s)) if self.running else True
        with self._lock:
            self._closed, self.running = True, False
            self._queue.refuse()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(left_s(deadline_s))
        return flushed

    def reset_after_fork(self) -> None:
        """Forget the parent's thread, which does not exist here."""
        self._lock = threading.Lock()
        self._thread = None
        self.running = False
        self.errors = 0

    def _run(self) -> None:
        try:
            self._work()
        finally:
            # However this thread ends, by a logging handler that raises for one, the next event
            # starts another.
            with self._lock:
                if threading.current_thread() is self._thread:
                    self.running = False
                    self._queue.close()

    def _work(self) -> None:
        pid = os.getpid()
        tick_at_s = 0.0
        while self.running and os.getpid() == pid:
            handled = 0
            while (event := self._queue.take()) is not None:
                self._handle(event)
                handled += 1
                if handled % YIELD_EVERY == 0:
                    time.sleep(0)
                    if time.monotonic() >= tick_at_s:
                        tick_at_s = self._tick_once()
            tick_at_s = self._tick_once()
            time.sleep(POLL_S)

    def _tick_once(self) -> float:
        """Tick; return when to do so again, be there ever so many events."""
        self._guard(self._tick)
        return time.monotonic() + POLL_S

    def _handle(self, event: Event) -> None:
        if event[0] == FLUSH:
            self._guard(self._tick)
            event[1].set()
        else:
            self._guard(lambda: self._process(event))

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self.errors += 1
            if self.errors <= MAX_LOGGED:
                logger.exception("an event could not be processed; going on with the next")


def left_s(deadline_s: float) -> float:
    """Seconds until a deadline on `time.monotonic()`; 0 when it is over."""
    return max(0.0, deadline_s - time.monotonic())
