"""Group commit: one thread that takes whatever has queued up and commits it at once."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import msgspec

from tocsin.errors import StoreError
from tocsin.store.record import HEADER_BYTES

__all__ = ["Entry", "GroupWriter"]

logger = logging.getLogger(__name__)

GROUP_BYTES: Final = 8 << 20
"""A group stops growing here, so that its first body does not wait for ever."""


class Entry(msgspec.Struct, frozen=True):
    """A body to be made durable; `done` gets its sequence number, or a StoreError."""

    body: bytes
    kind: int
    received_ns: int
    digest: bytes
    done: Future[int]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return HEADER_BYTES + len(self.body)


class GroupWriter:
    """Calls `commit(entries)` on a thread of its own; `commit` settles the entries' futures."""

    def __init__(self, commit: Callable[[Sequence[Entry]], None]) -> None:
        self._commit = commit
        self._queue: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.queued_bytes = 0
        """Bytes handed over and not settled yet."""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hand over an entry. Raises StoreError once closed."""
        with self._changed:
            if self._closing:
                raise StoreError("the journal is closed")
            self._queue.append(entry)
            self.queued_bytes += entry.size
            self._changed.notify()

    def close(self) -> None:
        """Commit what is queued, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._take():
            try:
                self._commit(group)
            except Exception as error:  # a thread that dies here leaves every sender waiting
                logger.exception("the journal could not write; going on with the next bodies")
                for entry in group:
                    if not entry.done.done():
                        entry.done.set_exception(StoreError(f"cannot write: {error!r}"))
            with self._changed:
                self.queued_bytes -= sum(entry.size for entry in group)

    def _take(self) -> list[Entry]:
        group: list[Entry] = []
        size = 0
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            while self._queue and size < GROUP_BYTES:
                group.append(self._queue.popleft())
                size += group[-1].size
        return group
