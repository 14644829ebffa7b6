"""Attribute values, decoded by hand, agree with protobuf's own decoder."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.fakes.otlp import VALUES, any_value
from tocsin.sources.any_value import Value, decode_any_value


def expected(plain: object, depth: int = 0) -> Value:
    """The value in the form that the decoder promises."""
    if isinstance(plain, list):
        items = [] if depth >= 4 else [expected(item, depth + 1) for item in plain]
        if depth >= 4:
            return None
        kept = [item for item in items if isinstance(item, str | bool | int | float)]
        return tuple(item if isinstance(item, str) else str(item) for item in kept)
    if isinstance(plain, dict):
        return (
            None if depth >= 4 else {key: expected(item, depth + 1) for key, item in plain.items()}
        )
    assert plain is None or isinstance(plain, str | bool | int | float | bytes)
    return plain


@given(VALUES)
def test_agrees_with_protobuf(plain: object) -> None:
    assert repr(expected(plain)) == repr(decode_any_value(any_value(plain).SerializeToString()))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_none(raw: bytes) -> None:
    decode_any_value(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"", None),
        (b"\x0a\x05ab", None),
        (b"\x0a\x02a\xff", "a\ufffd"),
        (b"\x18\x80", None),
        (b"\x18" + b"\xff" * 11, None),
        (b"\x0b\x0c", None),
        (b"\x0a\x01a\x18\x05", 5),
    ],
    ids=["empty", "cut off", "no UTF-8", "cut varint", "endless varint", "group", "last wins"],
)
def test_odd_bytes(raw: bytes, value: Value) -> None:
    assert value == decode_any_value(raw)


def test_nesting_is_followed_to_a_depth_only() -> None:
    deep: object = "core"
    for _ in range(20):
        deep = {"in": deep}
    found = decode_any_value(any_value(deep).SerializeToString())
    depth = 0
    while isinstance(found, dict):
        found, depth = found["in"], depth + 1
    assert (None, 4) == (found, depth)


def test_long_arrays_are_cut() -> None:
    found = decode_any_value(any_value(list(range(1000))).SerializeToString())
    assert tuple(map(str, range(64))) == found


def test_floats_keep_their_value() -> None:
    assert 0.25 == decode_any_value(AnyValue(double_value=0.25).SerializeToString())
    nan = decode_any_value(AnyValue(double_value=math.nan).SerializeToString())
    assert isinstance(nan, float)
    assert math.isnan(nan)
