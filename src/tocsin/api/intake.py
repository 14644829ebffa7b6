"""The way in, whatever the protocol: room, decompression, a check, the journal."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import msgspec

from tocsin.api.compression import decompress
from tocsin.api.refusal import Reason, RefusedError
from tocsin.errors import DecodeError, StoreError
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Registry
from tocsin.model.telemetry import Format, Signal
from tocsin.store.journal import Journal, JournalFullError

__all__ = ["BODY_LIMIT", "Check", "Intake", "Parcel", "Reserve", "Room"]

logger = logging.getLogger(__name__)

BODY_LIMIT: Final = 16 << 20
ROOM_BYTES: Final = 96 << 20
THREADS: Final = 2

Check = Callable[[bytes, str], None]
"""Raises DecodeError for a body of a content type that cannot be read."""


class Parcel(msgspec.Struct, frozen=True):
    """A body as it came."""

    signal: Signal
    format: Format
    encoding: str
    """Content-Encoding; empty for none."""
    body: bytes


Reserve = Callable[[int], None]
"""Reserves bytes of memory, or raises RefusedError."""


class Room:
    """Bytes of bodies held in memory at once, compressed or not. Any thread may reserve."""

    def __init__(self, max_bytes: int = ROOM_BYTES) -> None:
        self._free_bytes = max_bytes
        self._lock = threading.Lock()
        self._freed = asyncio.Event()

    @contextmanager
    def reserving(self) -> Iterator[Reserve]:
        """Give a function that reserves bytes; free them at the end, in the event loop."""
        reserved = 0

        def reserve(size: int) -> None:
            nonlocal reserved
            with self._lock:
                if size > self._free_bytes:
                    raise RefusedError(Reason.BEHIND, "too many bodies are arriving at once")
                self._free_bytes -= size
                reserved += size

        try:
            yield reserve
        finally:
            with self._lock:
                self._free_bytes += reserved
            self._freed.set()

    async def await_free(self, size: int) -> None:
        """Return in a moment when so many bytes could be reserved."""
        while size > self._free_bytes:
            self._freed.clear()
            await self._freed.wait()


class Intake:
    """Takes bodies into the journal, and returns only when they are durable.

    refusal: why nothing can be taken now (backpressure), or None.
    """

    def __init__(
        self,
        journal: Journal,
        registry: Registry,
        check: Check,
        *,
        refusal: Callable[[], str | None] = lambda: None,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self.body_limit = body_limit
        self.room = Room(max(ROOM_BYTES, 2 * body_limit))
        self.is_closed = False
        self._journal = journal
        self._registry = registry
        self._check = check
        self._refusal = refusal
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="intake")

    def admit(self, signal: Signal) -> None:
        """Raise RefusedError if nothing can be taken now; cheap, before a body is read."""
        if self.is_closed:
            raise RefusedError(Reason.UNAVAILABLE, "the server is stopping")
        if signal is Signal.TRACES and (why := self._refusal()) is not None:
            raise RefusedError(Reason.BEHIND, why)

    async def take(self, parcel: Parcel, reserve: Reserve) -> None:
        """Return when the body is durable. Raises RefusedError.

        reserve: asked for what the body takes once it is decompressed.
        """
        self.admit(parcel.signal)
        loop = asyncio.get_running_loop()
        accepted = await loop.run_in_executor(self._pool, self._accept, parcel, reserve)
        if accepted is None:
            return
        try:
            await asyncio.wrap_future(accepted)
        except StoreError as error:
            raise RefusedError(Reason.UNAVAILABLE, str(error)) from error

    def count(self, protocol: str, signal: Signal, *, code: str, size: int) -> None:
        """Count an answered request and the bytes of its body on the wire."""
        with self._registry.updating():
            self._registry.add(m.OTLP_REQUESTS, (protocol, signal.value, code))
            self._registry.add(m.OTLP_BYTES, (protocol, signal.value), size)

    def close(self) -> None:
        """Refuse everything from now on."""
        self.is_closed = True

    def _accept(self, parcel: Parcel, reserve: Reserve) -> Future[int] | None:
        """Check a body and hand it to the journal; on a thread, for the sake of large ones."""
        body = decompress(parcel.body, parcel.encoding, self.body_limit)
        if body is not parcel.body:
            reserve(len(body))
        self._examine(body, parcel.format)
        if parcel.signal is not Signal.TRACES:
            with self._registry.updating():
                self._registry.add(m.OTLP_DROPPED, (parcel.signal.value,))
            return None
        if not body:
            return None  # an empty request holds no spans
        try:
            return self._journal.append(body, parcel.format, time.time_ns())
        except JournalFullError as error:
            raise RefusedError(Reason.BEHIND, str(error)) from error
        except StoreError as error:
            raise RefusedError(Reason.UNAVAILABLE, str(error)) from error

    def _examine(self, body: bytes, format_: Format) -> None:
        try:
            self._check(body, format_.content_type)
        except DecodeError as error:
            raise RefusedError(Reason.MALFORMED, str(error)) from error
        except Exception as error:
            logger.exception("the check of a body failed; refused it")
            message = f"the body cannot be read: {type(error).__name__}"
            raise RefusedError(Reason.MALFORMED, message) from error
