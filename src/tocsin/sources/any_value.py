"""OTLP's AnyValue, decoded by hand: attributes are many and small."""

import struct
from typing import Final, TypeAlias

__all__ = ["Value", "decode_value"]

Value: TypeAlias = "str | bool | int | float | bytes | tuple[Value, ...] | dict[str, Value] | None"

MAX_DEPTH: Final = 4
MAX_ITEMS: Final = 256
DOUBLE: Final = struct.Struct("<d")

STRING, BOOL, INT, FLOAT, ARRAY, KEY_VALUES, BYTES = 0x0A, 0x10, 0x18, 0x21, 0x2A, 0x32, 0x3A


def decode_value(data: bytes, depth: int = 0) -> Value:
    """Decode one serialized AnyValue; None for what is empty, unknown or broken."""
    if not data:
        return None
    try:
        # Nearly all values are short strings and small numbers: one length byte, no continuation.
        if data[0] == STRING and data[1] < 0x80:
            return data[2 : 2 + data[1]].decode("utf-8", "replace")
        if data[0] == INT and data[1] < 0x80:
            return data[1]
        return _decode(data, depth)
    except (IndexError, struct.error):
        return None


def _decode(data: bytes, depth: int) -> Value:
    tag = data[0]
    if tag == STRING:
        size, at = _varint(data, 1)
        return data[at : at + size].decode("utf-8", "replace")
    if tag == INT:
        number = _varint(data, 1)[0]
        return number - (1 << 64) if number >> 63 else number
    if tag == BOOL:
        return data[1] != 0
    if tag == FLOAT:
        return float(DOUBLE.unpack_from(data, 1)[0])
    size, at = _varint(data, 1)
    inside = data[at : at + size]
    if tag == BYTES:
        return inside
    if depth >= MAX_DEPTH:
        return None
    if tag == ARRAY:
        return tuple(decode_value(item, depth + 1) for item in _fields(inside))
    if tag == KEY_VALUES:
        return dict(_pair(pair, depth) for pair in _fields(inside))
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Value of a varint of at most ten bytes, and where it ends."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise IndexError("a varint without an end")


def _fields(data: bytes) -> list[bytes]:
    """Contents of a message's length-delimited fields, in order."""
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) < MAX_ITEMS:
        if data[at] & 7 != 2:
            break
        size, at = _varint(data, at + 1)
        found.append(data[at : at + size])
        at += size
    return found


def _pair(data: bytes, depth: int) -> tuple[str, Value]:
    key, value = "", b""
    at = 0
    while at < len(data):
        tag = data[at]
        size, at = _varint(data, at + 1)
        if tag == 0x0A:
            key = data[at : at + size].decode("utf-8", "replace")
        elif tag == 0x12:
            value = data[at : at + size]
        at += size
    return key, decode_value(value, depth + 1)
