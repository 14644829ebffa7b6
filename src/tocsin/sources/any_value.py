"""OTLP's AnyValue, decoded by hand and only where somebody asks for it.

Nothing here raises: what cannot be read is None, because one odd attribute must not cost a span.
"""

import struct
from typing import Final, TypeAlias

__all__ = ["Value", "decode_any_value"]

Value: TypeAlias = "str | bool | int | float | bytes | tuple[str, ...] | dict[str, Value] | None"
"""An attribute's value; arrays hold the text of their scalar elements."""

MAX_DEPTH: Final = 4
MAX_ITEMS: Final = 64
"""Elements of an array or a map that are read."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
STRING_FIELD, BOOL_FIELD, INT_FIELD, DOUBLE_FIELD, ARRAY_FIELD, MAP_FIELD, BYTES_FIELD = range(1, 8)
STRING_TAG: Final = STRING_FIELD << 3 | BYTES
INT_TAG: Final = INT_FIELD << 3 | VARINT
DOUBLE_TAG: Final = DOUBLE_FIELD << 3 | FIXED64
DOUBLE: Final = struct.Struct("<d")


class Broken(Exception):  # noqa: N818 - never leaves this module
    """The bytes end early, or are no protobuf."""


def decode_any_value(raw: bytes) -> Value:
    """Read a serialized AnyValue; None where it is unset, broken or nested too deep.

    Strings that are no UTF-8 keep what can be read of them.
    """
    size = len(raw)
    if size > 1:
        tag, first = raw[0], raw[1]
        if tag == STRING_TAG and first == size - 2 < 0x80:
            return raw[2:].decode("utf-8", "replace")
        if tag == INT_TAG and size == 2 and first < 0x80:
            return first
        if tag == INT_TAG and size == 3 and first >= 0x80 > raw[2]:
            return (first & 0x7F) | raw[2] << 7
        if tag == DOUBLE_TAG and size == DOUBLE.size + 1:
            return float(DOUBLE.unpack_from(raw, 1)[0])
    try:
        return _any_value(raw, 0)
    except Broken:
        return None


def _any_value(raw: bytes, depth: int) -> Value:
    value: Value = None
    for number, wire, field in _fields(raw):
        if wire == BYTES and isinstance(field, bytes):
            value = _sized(number, field, depth, value)
        elif wire == VARINT and isinstance(field, int):
            if number == BOOL_FIELD:
                value = field != 0
            elif number == INT_FIELD:
                value = field - (1 << 64) if field >= 1 << 63 else field
        elif number == DOUBLE_FIELD and wire == FIXED64 and isinstance(field, bytes):
            value = DOUBLE.unpack(field)[0]
    return value


def _sized(number: int, field: bytes, depth: int, before: Value) -> Value:
    match number:
        case 1:
            return field.decode("utf-8", "replace")
        case 5:
            return _array(field, depth + 1) if depth < MAX_DEPTH else None
        case 6:
            return _map(field, depth + 1) if depth < MAX_DEPTH else None
        case 7:
            return field
        case _:
            return before


def _array(raw: bytes, depth: int) -> tuple[str, ...]:
    items = [_any_value(element, depth) for element in _elements(raw)]
    return tuple(
        item if isinstance(item, str) else str(item)
        for item in items
        if isinstance(item, str | bool | int | float)
    )


def _map(raw: bytes, depth: int) -> dict[str, Value]:
    items: dict[str, Value] = {}
    for pair in _elements(raw):
        key, value = "", b""
        for number, _, field in _fields(pair):
            if number == 1 and isinstance(field, bytes):
                key = field.decode("utf-8", "replace")
            elif number == 2 and isinstance(field, bytes):
                value = field
        items[key] = _any_value(value, depth)
    return items


def _elements(raw: bytes) -> list[bytes]:
    """The first elements of an array or a map, serialized."""
    found = [field for number, _, field in _fields(raw) if number == 1]
    return [field for field in found[:MAX_ITEMS] if isinstance(field, bytes)]


def _fields(raw: bytes) -> list[tuple[int, int, int | bytes]]:
    """The top-level fields of a message: number, wire type, and an int or the bytes."""
    fields: list[tuple[int, int, int | bytes]] = []
    at, end = 0, len(raw)
    while at < end:
        tag, at = _varint(raw, at)
        wire = tag & 7
        if wire == VARINT:
            number, at = _varint(raw, at)
            fields.append((tag >> 3, wire, number))
            continue
        if wire == BYTES:
            size, at = _varint(raw, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise Broken
        if at + size > end:
            raise Broken
        fields.append((tag >> 3, wire, raw[at : at + size]))
        at += size
    return fields


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 64:
        if at >= len(raw):
            raise Broken
        byte = raw[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise Broken
