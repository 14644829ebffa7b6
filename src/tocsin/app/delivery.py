"""The bounded queue of spans to export and the one thread that sends them."""

import gzip
import logging
import os
import random
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from tocsin.app.instance import instance_id
from tocsin.app.otlp_http import Answer
from tocsin.app.worker import left_s
from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import Metric
from tocsin.model.label import clean_name
from tocsin.sources.otlp_encode import Finished, encode_traces

__all__ = ["Delivery", "Sender"]

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 20_000
"""Spans, about a kilobyte each."""
BATCH: Final = 512
EVERY_S: Final = 1.0
FIRST_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 30.0
MAX_RETRY_AFTER_S: Final = 300.0
RETRIED: Final = frozenset({429, 502, 503, 504})
SERVICE_NAME_ENV: Final = "OTEL_SERVICE_NAME"
GZIP_LEVEL: Final = 2
DROPS: Final = ("queue_full", "rejected", "exit", "unencodable")


class Sender(Protocol):
    """Posts bodies; `OtlpHttp` is the real one."""

    def post(self, body: bytes) -> Answer:
        """Send one gzipped body. Raises OSError or HTTPException where no answer can be had."""
        ...

    def abort_late(self, now_s: float) -> None:
        """End an exchange that takes too long."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...

    def forget(self) -> None:
        """Let go of the connection in a forked child, whose parent goes on using it."""
        ...


class Delivery:
    """Sends spans in batches, each until it is taken, refused for good, or the process ends.

    While the receiver is away the newest `limit` spans wait; older ones are dropped and counted. A
    receiver may see a batch twice: one that it took, but said so too late. Never raises, and
    nobody but `flush` and `close` waits. name: the receiver's, for logs.
    """

    def __init__(
        self, name: str, make_sender: Callable[[], Sender], *, limit: int = MAX_WAITING
    ) -> None:
        self._name = name
        self._limit = limit
        self.leases_budgets = False
        """This process reports what its calls cost, besides: to a server it leases budgets from."""
        self._make_sender = make_sender
        self._sender = make_sender()
        self._forget()

    def reset_after_fork(self) -> None:
        """Start from nothing in a forked child; the parent sends what it had."""
        self._sender.forget()
        self._sender = self._make_sender()
        self._forget()

    def _forget(self) -> None:
        self._waiting: deque[Finished] = deque()
        self._random = random.Random()
        self._news = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closing = self._hurry = self._is_away = False
        self._taken_in = self._handled = self._in_flight = self._failed_attempts = 0
        self._warned: set[str] = set()
        self._resource = _resource()
        self.sent = 0
        self.dropped = Counter(dict.fromkeys(DROPS, 0))
        """Spans by the reason for which they were not sent."""
        self.failures = Counter(dict.fromkeys(("connection", "timeout"), 0))
        """Requests without success, by reason."""

    @property
    def depth(self) -> int:
        """Spans that are not sent yet."""
        return len(self._waiting) + self._in_flight

    def totals(self) -> dict[tuple[Metric, tuple[str, ...]], float]:
        """Values of this delivery's own metrics."""
        found: dict[tuple[Metric, tuple[str, ...]], float] = {
            (m.EXPORTED, ()): self.sent,
            (m.EXPORT_DEPTH, ()): self.depth,
        }
        found |= {(m.EXPORT_DROPPED, (why,)): count for why, count in self.dropped.copy().items()}
        found |= {(m.EXPORT_FAILURES, (why,)): count for why, count in self.failures.copy().items()}
        return found

    def tick(self) -> None:
        """End a request that takes too long."""
        self._sender.abort_late(time.monotonic())

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was handed over is sent; False once that fails or time runs out."""
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            goal, failed = self._taken_in, self._failed_attempts
            self._hurry = True
            self._news.notify_all()
            while self._handled < goal:
                is_away = self._is_away or self._failed_attempts > failed
                if is_away or self._thread is None or not self._news.wait(left_s(deadline_s)):
                    return False
            return True

    def finish(self) -> None:
        """Send what is waiting, with one attempt, and stop; do not wait for that."""
        with self._news:
            self._closing = True
            self._news.notify_all()

    def close(self, deadline_s: float) -> None:
        """Wait for the end until a deadline on `time.monotonic()`."""
        self.finish()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(left_s(deadline_s))
        with self._news:
            lost = self.dropped["exit"] = self.dropped["exit"] + self.depth
            self._waiting.clear()
        if lost:
            logger.warning("%s: %d spans could not be sent before the end", self._name, lost)

    def put(self, item: Finished) -> None:
        """Take a span; the oldest one goes where there is no room."""
        with self._news:
            self._waiting.append(item)
            self._taken_in += 1
            if len(self._waiting) > self._limit:
                self._waiting.popleft()
                self._handled += 1
                self.dropped["queue_full"] += 1
            if len(self._waiting) in (1, BATCH):
                self._news.notify_all()
            if self._thread is None and not self._closing:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="tocsin-export", daemon=True)
        try:
            self._thread = thread
            thread.start()
        except RuntimeError as error:
            # The interpreter is shutting down, or the system has no threads left.
            self._thread = None
            logger.debug("no export thread: %s", error)

    def _run(self) -> None:
        try:
            while batch := self._take():
                self._deliver(batch)
                with self._news:
                    self._handled += len(batch)
                    self._in_flight = 0
                    self._news.notify_all()
            self._sender.close()
        finally:
            # However this thread ends, the next span starts another.
            with self._news:
                if threading.current_thread() is self._thread:
                    self._thread = None
                self._news.notify_all()

    def _take(self) -> list[Finished]:
        """Wait for a full batch or a second; [] at the end."""
        with self._news:
            while not self._waiting and not self._closing:
                self._news.wait()
            self._news.wait_for(
                lambda: self._hurry or self._closing or len(self._waiting) >= BATCH, EVERY_S
            )
            count = self._in_flight = min(BATCH, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            self._hurry = self._hurry and bool(self._waiting)
            return batch

    def _deliver(self, batch: list[Finished]) -> None:
        """Send a batch until it is taken or refused for good, or the process ends."""
        try:
            worker = instance_id() if self.leases_budgets else None
            traces = encode_traces(batch, self._resource, budget_worker=worker)
            body = gzip.compress(traces, GZIP_LEVEL, mtime=0)
        except Exception as error:  # noqa: BLE001 - a value nobody foresaw must not end this thread
            self._drop("unencodable", len(batch), type(error).__name__)
            return
        attempt = 0
        is_last = self._closing
        while (delay_s := self._attempt(batch, body, attempt)) is not None:
            if is_last:
                self._give_up(len(batch))
                return
            attempt += 1
            self._pause(delay_s)
            is_last = self._closing

    def _attempt(self, batch: list[Finished], body: bytes, attempt: int) -> float | None:
        """Send once; return the seconds to wait before the next time, None if that is needless."""
        try:
            answer = self._sender.post(body)
        except Exception as error:  # noqa: BLE001 - a hostile receiver may cause anything
            return self._retry(_reason(error), attempt, None)
        if answer.status in RETRIED:
            return self._retry(str(answer.status), attempt, answer.retry_after_s)
        if 200 <= answer.status < 300:
            rejected = min(answer.rejected, len(batch))
            self.sent += len(batch) - rejected
            if rejected:
                self._drop("rejected", rejected, "it left out some of a batch")
            if attempt:
                logger.warning("%s takes spans again", self._name)
            return None
        self.failures[str(answer.status)] += 1
        self._drop("rejected", len(batch), f"it answers {answer.status}")
        return None

    def _retry(self, reason: str, attempt: int, retry_after_s: float | None) -> float:
        """Seconds to wait: ever longer, half of it at random, at least what was asked for."""
        self.failures[reason] += 1
        if not attempt:
            logger.warning("%s takes no spans for now: %s", self._name, reason)
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt, 10))
        delay_s *= self._random.uniform(0.5, 1.0)
        return max(delay_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))

    def _pause(self, delay_s: float) -> None:
        """Wait before the next attempt, unless the process ends."""
        with self._news:
            self._failed_attempts += 1
            self._is_away = True
            self._news.notify_all()
            self._news.wait_for(lambda: self._closing, delay_s)
            self._is_away = False

    def _give_up(self, count: int) -> None:
        """Drop a batch and all that waits: the process ends, and the receiver is away."""
        with self._news:
            self.dropped["exit"] += count + len(self._waiting)
            self._waiting.clear()
            self._in_flight = 0

    def _drop(self, reason: str, count: int, why: str) -> None:
        self.dropped[reason] += count
        if why not in self._warned:
            self._warned.add(why)
            logger.warning("%s: spans are dropped, and counted: %s", self._name, why)


def _reason(error: Exception) -> str:
    """Why there was no answer, as a metric's label."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ssl.SSLError):
        return "tls"
    return "connection" if isinstance(error, OSError) else "bad answer"


def _resource() -> dict[str, str | int]:
    program = Path(sys.argv[0] if sys.argv else "")
    name = program.parent.name if program.name == "__main__.py" else program.name
    return {
        "service.name": clean_name(os.environ.get(SERVICE_NAME_ENV))
        or clean_name(name)
        or "python",
        "service.instance.id": instance_id(),
        "process.pid": os.getpid(),
        "host.name": socket.gethostname(),
    }
