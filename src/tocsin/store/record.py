"""The journal's bytes: one record per accepted body, checked by its own header and digest."""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

__all__ = [
    "HEADER_BYTES",
    "Header",
    "Record",
    "digest_of",
    "pack",
    "read_body",
    "read_header",
    "walk",
]

MAGIC: Final = b"\xf5Toc"  # 0xf5 is in no UTF-8 text, so bodies seldom contain it
FIELDS: Final = struct.Struct("<4sB3xIQQ16s")
CHECK: Final = struct.Struct("<I")
HEADER_BYTES: Final = FIELDS.size + CHECK.size
SEARCH_BYTES: Final = 1 << 20


class Header(msgspec.Struct, frozen=True):
    """What precedes a body."""

    kind: int
    length: int
    """Bytes of the body."""
    seq: int
    received_ns: int
    digest: bytes
    """16 bytes: the body's checksum, and its identity when a sender repeats it."""


class Record(msgspec.Struct, frozen=True):
    """An accepted body: `kind` is its format, `seq` its place in the journal."""

    seq: int
    kind: int
    received_ns: int
    body: bytes


def digest_of(body: bytes) -> bytes:
    """Identify a body in 16 bytes (SHA-256, cut)."""
    return hashlib.sha256(body).digest()[:16]


def pack(header: Header) -> bytes:
    """Write a header with its own checksum, so that its length can be trusted."""
    fields = FIELDS.pack(
        MAGIC, header.kind, header.length, header.seq, header.received_ns, header.digest
    )
    return fields + CHECK.pack(zlib.crc32(fields))


def unpack(data: bytes) -> Header | None:
    """Read a header; None where there is none."""
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        return None
    (check,) = CHECK.unpack_from(data, FIELDS.size)
    if check != zlib.crc32(data[: FIELDS.size]):
        return None
    _, kind, length, seq, received_ns, digest = FIELDS.unpack_from(data)
    return Header(kind, length, seq, received_ns, digest)


def walk(fd: int) -> Iterator[tuple[int, Header]]:
    """Yield offset and header of every record whose body is there in full length.

    Damaged stretches are passed over: the next header with a right checksum ends them.
    """
    size = os.fstat(fd).st_size
    offset: int | None = 0
    while offset is not None and offset < size:
        header = read_header(fd, offset)
        if header is None or offset + HEADER_BYTES + header.length > size:
            offset = _search(fd, offset + 1)
            continue
        yield offset, header
        offset += HEADER_BYTES + header.length


def read_header(fd: int, offset: int) -> Header | None:
    """Read the header at an offset; None where it is damaged."""
    return unpack(os.pread(fd, HEADER_BYTES, offset))


def read_body(fd: int, offset: int) -> tuple[Header, bytes] | None:
    """Read the record at an offset; None where it is damaged."""
    header = read_header(fd, offset)
    if header is None:
        return None
    body = os.pread(fd, header.length, offset + HEADER_BYTES)
    return (header, body) if digest_of(body) == header.digest else None


def _search(fd: int, start: int) -> int | None:
    """Find the next header at or after `start`."""
    while chunk := os.pread(fd, SEARCH_BYTES, start):
        at = chunk.find(MAGIC)
        while at >= 0:
            if read_header(fd, start + at) is not None:
                return start + at
            at = chunk.find(MAGIC, at + 1)
        if len(chunk) < SEARCH_BYTES:
            return None
        start += len(chunk) - len(MAGIC) + 1
    return None
