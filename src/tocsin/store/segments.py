"""The journal's files as one sequence. Guarded by its owner's lock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tocsin.store.segment import Segment

__all__ = ["Place", "Segments"]

KEPT: Final = 1
"""Trimmed files that stay: a sender that got no answer may repeat what they hold."""


class Place(NamedTuple):
    """Where a record is."""

    segment: Segment
    seq: int
    offset: int


class Segments:
    """Segments, oldest first; only the last one is written to."""

    def __init__(self, directory: Path, found: list[Segment], position: int) -> None:
        self._directory = directory
        self._segments = found
        self._is_open = bool(found)
        self._trimmed = position
        self.backlog_bytes = 0
        """Bytes after the last trimmed record."""
        self.measure()

    def active(self, next_seq: int, max_bytes: int) -> Segment:
        """Return the segment to write to, a new one where the last is full or given up."""
        if not self._is_open or self._segments[-1].end >= max_bytes:
            self._segments.append(Segment.create(self._directory, next_seq))
            self._is_open = True
        return self._segments[-1]

    def give_up(self) -> None:
        """Never write to the last segment again."""
        self._is_open = False

    def measure(self) -> None:
        """Find `backlog_bytes` anew, after records were added."""
        self.backlog_bytes = self.bytes_after(self._trimmed)

    def bytes_after(self, seq: int) -> int:
        """Bytes of the records after a number."""
        return sum(segment.end - segment.bytes_upto(seq) for segment in self._segments)

    def disk_bytes(self) -> int:
        """Bytes of all files."""
        return sum(segment.end for segment in self._segments)

    def after(self, seq: int) -> Iterator[Place]:
        """Yield the records after a number, in order."""
        for segment in self._segments:
            if segment.last_seq > seq:
                for found, offset in segment.after(seq):
                    yield Place(segment, found, offset)

    def trim(self, upto: int) -> list[Segment]:
        """Forget records up to a number; return the files that can be removed."""
        self._trimmed = max(self._trimmed, upto)
        sealed = self._segments[:-1] if self._is_open else self._segments
        done = [segment for segment in sealed if segment.last_seq <= self._trimmed][:-KEPT]
        self._segments = [segment for segment in self._segments if segment not in done]
        self.measure()
        return done

    def close(self) -> None:
        """Close every file."""
        for segment in self._segments:
            segment.close()
        self._segments = []
