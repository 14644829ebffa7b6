"""One file of the journal: records one after the other, only ever appended to."""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tocsin.store.record import HEADER_BYTES, Header, read_body, read_header, walk

__all__ = ["SUFFIX", "Segment", "sync_directory"]

SUFFIX: Final = ".journal"
WRITEV_MAX: Final = 512  # buffers per call; the kernel takes 1024

_sync = getattr(os, "fdatasync", os.fsync)


class Segment:
    """An open file and an index of its records: sequence numbers and offsets, ascending."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.first_seq = int(path.name.removesuffix(SUFFIX))
        """No record in this file or in later ones comes before it."""
        self.end = 0
        """Bytes that are durable and whole."""
        self._seqs = array("Q")
        self._offsets = array("Q")

    @classmethod
    def create(cls, directory: Path, first_seq: int) -> "Segment":
        """Create an empty file that survives a crash."""
        path = directory / f"{first_seq:020d}{SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            sync_directory(directory)
        except OSError:
            os.close(fd)
            raise
        return cls(path, fd)

    @classmethod
    def open(cls, path: Path) -> "Segment":
        """Open an existing file, its index empty."""
        return cls(path, os.open(path, os.O_RDWR | os.O_APPEND))

    @property
    def last_seq(self) -> int:
        """The last record's number, or the number before the first where there is none."""
        return self._seqs[-1] if self._seqs else self.first_seq - 1

    def headers(self) -> Iterator[tuple[int, Header]]:
        """Walk over the file's records as they are on disk."""
        return walk(self.fd)

    def index(self, seq: int, offset: int, length: int) -> None:
        """Take a durable record into the index."""
        self._seqs.append(seq)
        self._offsets.append(offset)
        self.end = offset + HEADER_BYTES + length

    def drop(self, seq: int) -> None:
        """Take a damaged record out of the index."""
        at = bisect_right(self._seqs, seq) - 1
        if at >= 0 and self._seqs[at] == seq:
            del self._seqs[at], self._offsets[at]

    def after(self, seq: int) -> Iterator[tuple[int, int]]:
        """Yield (sequence number, offset) of the records after `seq`."""
        for at in range(bisect_right(self._seqs, seq), len(self._seqs)):
            yield self._seqs[at], self._offsets[at]

    def bytes_upto(self, seq: int) -> int:
        """Bytes of the file up to and with the record `seq`."""
        at = bisect_right(self._seqs, seq)
        return self._offsets[at] if at < len(self._offsets) else self.end

    def header(self, offset: int) -> Header | None:
        """Read a record's header; None where it is damaged."""
        return read_header(self.fd, offset)

    def read(self, offset: int) -> tuple[Header, bytes] | None:
        """Read the record at an offset; None where it is damaged."""
        return read_body(self.fd, offset)

    def write(self, buffers: Sequence[bytes]) -> None:
        """Append and make durable. Raises OSError, and then knows nothing of what was written."""
        for start in range(0, len(buffers), WRITEV_MAX):
            _write_all(self.fd, buffers[start : start + WRITEV_MAX])
        _sync(self.fd)

    def undo(self) -> None:
        """Cut off what a failed write left behind."""
        os.ftruncate(self.fd, self.end)
        _sync(self.fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def remove(self) -> None:
        """Close and delete the file: the disk has its bytes back at once."""
        self.close()
        self.path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the directory's entries durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, buffers: Sequence[bytes]) -> None:
    written = os.writev(fd, buffers)
    if written == sum(map(len, buffers)):
        return
    # A short write: a full disk is about to say so, or a file over 2 GB per call.
    rest = memoryview(b"".join(buffers))[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]
