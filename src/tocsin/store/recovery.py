"""What a journal's directory holds after any kind of end: clean, killed, torn or damaged."""

import logging
from pathlib import Path
from typing import Final

from tocsin.errors import StoreError
from tocsin.store.record import HEADER_BYTES, Header
from tocsin.store.segment import SUFFIX, Segment

__all__ = ["Recovery", "recover"]

logger = logging.getLogger(__name__)

MAX_GAP: Final = 1 << 20
"""Failed writes leave gaps in the numbers; a larger one is no number of ours."""


class Recovery:
    """Segments as found, oldest first, and what was seen on the way."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.digests: dict[bytes, int] = {}
        """Body digest -> sequence number, oldest first."""
        self.last_seq = 0
        self.goes_on = True
        """The next number follows the last segment's."""
        self.torn_bytes = 0
        """Bytes cut off the end: a write that a crash interrupted, never acknowledged."""
        self.damaged = 0
        """Stretches between records that hold none that can be read."""

    def take(self, segment: Segment, *, is_last: bool) -> None:
        """Index a segment; the last one is verified to its end and cut after its last record."""
        self.segments.append(segment)
        self.last_seq = max(self.last_seq, segment.first_seq - 1)
        for offset, header in segment.headers():
            if self._is_ours(header) and not (is_last and segment.read(offset) is None):
                self._index(segment, offset, header)
        size = segment.path.stat().st_size
        if is_last:
            self._cut(segment, size)
        segment.end = size if not is_last else segment.end

    def _is_ours(self, header: Header) -> bool:
        return self.last_seq < header.seq <= self.last_seq + MAX_GAP

    def _index(self, segment: Segment, offset: int, header: Header) -> None:
        lost = offset - segment.end
        if lost:
            self.damaged += 1
            where = (segment.path, lost, header.seq)
            logger.error("%s: %d bytes before record %d are damaged; skipped", *where)
        self.last_seq = header.seq
        if header.digest in self.digests:
            segment.end = offset + HEADER_BYTES + header.length
            return  # its first write failed, the sender repeated it, and both are here
        self.digests[header.digest] = header.seq
        segment.index(header.seq, offset, header.length)

    def _cut(self, segment: Segment, size: int) -> None:
        torn = size - segment.end
        if torn:
            self.torn_bytes += torn
            logger.warning(
                "%s: %d bytes after record %d are torn or damaged and were cut off; "
                "every record before them is kept",
                *(segment.path, torn, self.last_seq),
            )
        segment.undo()  # also makes what a killed process wrote durable


def recover(directory: Path, position: int) -> Recovery:
    """Open every segment in a directory.

    position: the last record that the store has; later numbers must be greater.
    Raises StoreError where the disk refuses.
    """
    found = Recovery()
    try:
        paths = sorted(directory.glob(f"*{SUFFIX}"))
        for path in paths:
            found.take(Segment.open(path), is_last=path is paths[-1])
    except OSError as error:
        for segment in found.segments:
            segment.close()
        raise StoreError(f"cannot read the journal in {directory}: {error}") from error
    _compare(directory, found, position)
    return found


def _compare(directory: Path, found: Recovery, position: int) -> None:
    first_seq = found.segments[0].first_seq if found.segments else position + 1
    if position and found.last_seq < position:
        logger.warning(
            "%s: the journal ends at record %d, the store has %d; numbering goes on from there",
            *(directory, found.last_seq, position),
        )
        found.last_seq = position
        found.goes_on = False  # the name of a new file says where its numbers begin
    elif first_seq > position + 1:
        logger.error(
            "%s: the store has record %d, the journal begins at %d; "
            "what was between them is gone (an older copy of the store?)",
            *(directory, position, first_seq),
        )
