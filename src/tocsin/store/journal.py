"""The write-ahead journal of accepted bodies: durable before anyone is told so.

A directory of append-only files (`segment.py`) whose records carry checksums (`record.py`). One
writer thread makes whatever has queued up durable with one fsync (`group.py`). Sequence numbers
ascend, with gaps where writes failed; a body that was accepted before is not written again.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from tocsin.errors import StoreError
from tocsin.store.group import Entry, GroupWriter
from tocsin.store.lock import DirectoryLock
from tocsin.store.record import HEADER_BYTES, Header, Record, digest_of, pack
from tocsin.store.recovery import recover
from tocsin.store.segment import Segment
from tocsin.store.segments import Place, Segments

__all__ = ["Journal", "JournalCounts", "JournalFullError"]

logger = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 64 << 20
MAX_BYTES: Final = 2 << 30
MAX_DIGESTS: Final = 50_000


class JournalFullError(StoreError):
    """The journal has reached its size; there is room again once the store has caught up."""


class JournalCounts(msgspec.Struct):
    """What has happened since the journal was opened."""

    records: int = 0
    groups: int = 0
    """fsyncs; records per group is what group commit saves."""
    duplicates: int = 0
    """Bodies that a sender repeated although they were already accepted."""
    failures: int = 0
    """Bodies refused because the disk did."""
    damaged: int = 0
    """Records whose checksum is wrong, and damaged stretches found on opening; skipped."""
    torn_bytes: int = 0
    """Bytes cut off the end on opening."""


class Journal:
    """Accepted bodies, in order, until the store has them. Any thread may append; one reads.

    position: the last record the store has committed. max_bytes: what the directory may take.
    Raises StoreError where another process has the directory, or the disk refuses.
    """

    def __init__(
        self,
        directory: Path,
        *,
        position: int = 0,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.directory = directory
        self._segment_bytes = min(segment_bytes, max_bytes // 8)
        # Beside the backlog there are what is trimmed of its first file, and one trimmed file.
        self._max_backlog = max_bytes - 2 * self._segment_bytes
        self.fault: str | None = None
        """Why the last write failed; None once one succeeded."""
        self._lock = DirectoryLock(directory)
        try:
            found = recover(directory, position)
        except StoreError:
            self._lock.release()
            raise
        self.counts = JournalCounts(torn_bytes=found.torn_bytes, damaged=found.damaged)
        self.last_seq = self._next_seq = found.last_seq
        """The last durable record."""
        self._digests = found.digests
        self._pending: dict[bytes, Future[int]] = {}
        self._segments = Segments(directory, found.segments, position)
        if not found.goes_on:
            self._segments.give_up()
        self._changed = threading.Condition()
        self._writer = GroupWriter(self._commit)
        self.trim(position)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are not trimmed yet, those still being written included."""
        return self._segments.backlog_bytes + self._writer.queued_bytes

    def disk_bytes(self) -> int:
        """Bytes of all files."""
        with self._changed:
            return self._segments.disk_bytes()

    def bytes_after(self, seq: int) -> int:
        """Bytes of the records after a number, those still being written included."""
        with self._changed:
            return self._segments.bytes_after(seq) + self._writer.queued_bytes

    def received_after_ns(self, seq: int) -> int | None:
        """When the first record after a number came in; None where there is none."""
        with self._changed:
            place = next(self._segments.after(seq), None)
            header = None if place is None else place.segment.header(place.offset)
        return None if header is None else header.received_ns

    def append(self, body: bytes, kind: int, received_ns: int) -> Future[int]:
        """Return a future of the body's sequence number, done when it is durable.

        A body already accepted, or on its way, gets the number it has. The future raises
        StoreError where the disk refuses; nothing of the body is kept then.
        Raises JournalFullError at once, and StoreError after `close`.
        """
        digest = digest_of(body)
        with self._changed:
            known = self._known(digest)
            if known is not None:
                self.counts.duplicates += 1
                return known
            if self.backlog_bytes + len(body) + HEADER_BYTES > self._max_backlog:
                waiting = f"{self.backlog_bytes >> 20} MB wait for the store"
                raise JournalFullError(f"the journal is full: {waiting}")
            entry = Entry(body, kind, received_ns, digest, Future())
            entry.done.set_running_or_notify_cancel()  # two senders may wait: neither can cancel
            self._writer.put(entry)
            self._pending[digest] = entry.done
            return entry.done

    def read(self, after: int, *, limit: int = 64, max_bytes: int = 8 << 20) -> list[Record]:
        """Return durable records after a number, in order, at least one where there is any.

        limit, max_bytes: where to stop. Damaged records are logged, counted and passed over.
        """
        records: list[Record] = []
        size = 0
        for place in self._places(after, limit):
            found = place.segment.read(place.offset)
            if found is None:
                self._skip(place)
                continue
            header, body = found
            size += len(body)
            if records and size > max_bytes:
                break
            records.append(Record(place.seq, header.kind, header.received_ns, body))
        if not records and self._places(after, 1):
            return self.read(after, limit=limit, max_bytes=max_bytes)  # all of them were damaged
        return records

    def wait(
        self, after: int, timeout_s: float, unless: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait until there is a record after a number; False if there is none.

        unless: gives up waiting; asked again after each `wake`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.last_seq > after or unless(), timeout_s)
            return self.last_seq > after

    def wake(self) -> None:
        """Have `wait` look again."""
        with self._changed:
            self._changed.notify_all()

    def trim(self, upto: int) -> None:
        """Let go of every record up to a number, which the store has; delete whole files."""
        with self._changed:
            done = self._segments.trim(upto)
        for segment in done:
            try:
                segment.remove()
            except OSError as error:
                logger.warning("cannot delete %s: %s", segment.path, error)

    def close(self) -> None:
        """Write what is queued, stop the writer and let go of the directory."""
        self._writer.close()
        self._segments.close()
        self._lock.release()

    def _known(self, digest: bytes) -> Future[int] | None:
        if digest in self._pending:
            return self._pending[digest]
        if digest not in self._digests:
            return None
        known: Future[int] = Future()
        known.set_result(self._digests[digest])
        return known

    def _places(self, after: int, limit: int) -> list[Place]:
        with self._changed:
            return list(islice(self._segments.after(after), limit))

    def _skip(self, place: Place) -> None:
        path, seq = place.segment.path, place.seq
        logger.error("%s: record %d at byte %d is damaged; skipped", path, seq, place.offset)
        with self._changed:
            self.counts.damaged += 1
            place.segment.drop(seq)

    def _commit(self, group: Sequence[Entry]) -> None:
        first_seq = self._next_seq + 1
        self._next_seq += len(group)  # a number is never used twice, whatever becomes of it
        parts: list[bytes] = []
        for seq, entry in enumerate(group, first_seq):
            length = len(entry.body)
            header = Header(entry.kind, length, seq, entry.received_ns, entry.digest)
            parts += (pack(header), entry.body)
        segment = None
        try:
            with self._changed:
                segment = self._segments.active(first_seq, self._segment_bytes)
            segment.write(parts)
        except OSError as error:
            self._fail(segment, group, error)
        else:
            self._publish(segment, first_seq, group)

    def _publish(self, segment: Segment, first_seq: int, group: Sequence[Entry]) -> None:
        with self._changed:
            for seq, entry in enumerate(group, first_seq):
                segment.index(seq, segment.end, len(entry.body))
                self._digests[entry.digest] = seq
                del self._pending[entry.digest]
            while len(self._digests) > MAX_DIGESTS:
                del self._digests[next(iter(self._digests))]
            self.counts.records += len(group)
            self.counts.groups += 1
            self.last_seq = first_seq + len(group) - 1
            self._segments.measure()
            self._changed.notify_all()
        if self.fault is not None:
            logger.warning("the journal in %s can be written again", self.directory)
            self.fault = None
        for seq, entry in enumerate(group, first_seq):
            entry.done.set_result(seq)

    def _fail(self, segment: Segment | None, group: Sequence[Entry], error: OSError) -> None:
        reason = f"cannot write to the journal in {self.directory}: {error.strerror}"
        if self.fault is None:
            logger.error("%s; senders are told to try again later", reason)
        self.fault = reason
        try:
            if segment is not None:
                segment.undo()
        except OSError:
            self._segments.give_up()
        with self._changed:
            self.counts.failures += len(group)
            for entry in group:
                del self._pending[entry.digest]
        for entry in group:
            entry.done.set_exception(StoreError(reason))
