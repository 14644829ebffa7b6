from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS
from tocsin.model.span import ErrorClass, Usage
from tocsin.sources.agents_sdk import fields

HUGE = "x" * 10_000_000

FIELDS = [
    ({"a": 1}, 1),
    (SimpleNamespace(a=1), 1),
    ({"b": 1}, None),
    (SimpleNamespace(b=1), None),
    (None, None),
    (7, None),
    ({n: n for n in range(10_000)}, None),
]


@pytest.mark.parametrize(("source", "expected"), FIELDS)
def test_field_of_a_mapping_or_an_object(source: object, expected: object) -> None:
    assert expected == fields.field(source, "a")


IDS = [("t", "t"), ("x" * 256, "x" * 256), ("x" * 257, None), ("", None), (None, None), (7, None)]


@pytest.mark.parametrize(("value", "expected"), [*IDS, (HUGE, None), (b"t", None)])
def test_identifier(value: object, expected: str | None) -> None:
    assert expected == fields.identifier(value)


TIMES = [
    ("2026-06-01T12:00:00+00:00", NOON_NS),
    ("2026-06-01T12:00:00Z", NOON_NS),
    ("2026-06-01T14:00:00+02:00", NOON_NS),
    ("2026-06-01T12:00:00.000001+00:00", NOON_NS + 1000),
    ("1970-01-01T00:00:00+00:00", 0),
    # Times that no clock shows; some of them no datetime can hold in UTC.
    ("1969-12-31T23:59:59+00:00", None),
    ("0001-01-01T00:00:00+14:00", None),
    ("0001-01-01T00:00:00", None),
    ("9999-12-31T23:59:59.999999+00:00", None),
    ("9999-12-31T23:59:59-14:00", None),
    ("yesterday", None),
    ("", None),
    (HUGE, None),
    (None, None),
    (1234.5, None),
    ("2026-06-01T12:00:00\ud800", None),
]


@pytest.mark.parametrize(("value", "expected"), TIMES)
def test_timestamp(value: object, expected: int | None) -> None:
    assert expected == fields.timestamp_ns(value)


@given(st.datetimes(timezones=st.timezones()) | st.datetimes())
def test_any_timestamp_is_one_that_can_be_shown(at: Any) -> None:
    found = fields.timestamp_ns(at.isoformat())

    assert found is None or 0 <= found < 1 << 63


def counted(**values: object) -> dict[str, object]:
    return {"input_tokens": 10, "output_tokens": 5} | values


class NotAnInt(int):
    """A subclass, as an IntEnum's member is."""


USAGES: list[tuple[Any, Usage | None]] = [
    (counted(), Usage(10, 5)),
    (SimpleNamespace(**counted()), Usage(10, 5)),
    (counted(output_tokens=0), Usage(10, 0)),
    (counted(input_tokens=NotAnInt(3)), Usage(3, 5)),
    (
        counted(
            input_tokens_details={"cached_tokens": 8, "cache_write_tokens": 1},
            output_tokens_details=SimpleNamespace(reasoning_tokens=4),
        ),
        Usage(10, 5, 8, 1, 4),
    ),
    # Zeros mean that the provider reported nothing.
    (counted(input_tokens=0, output_tokens=0), None),
    (counted(input_tokens=None, output_tokens=None), None),
    ({}, None),
    (None, None),
    ("usage", None),
    ([10, 5], None),
    # Broken fields count as not reported.
    (counted(input_tokens=-1), Usage(0, 5)),
    (counted(input_tokens=True), Usage(0, 5)),
    (counted(input_tokens="10"), Usage(0, 5)),
    (counted(input_tokens=float("nan")), Usage(0, 5)),
    (counted(input_tokens=10.0), Usage(0, 5)),
    (counted(input_tokens=1 << 40), Usage(0, 5)),
    (counted(input_tokens=10**100, output_tokens=-5), None),
    (counted(input_tokens_details={"cached_tokens": -8}), Usage(10, 5)),
    (counted(input_tokens_details=[8]), Usage(10, 5)),
    (counted(input_tokens_details={"cached_tokens": "8"}), Usage(10, 5)),
    (counted() | {str(n): n for n in range(10_000)}, Usage(10, 5)),
]


@pytest.mark.parametrize(("raw", "expected"), USAGES)
def test_usage(raw: Any, expected: Usage | None) -> None:
    assert expected == fields.usage(raw)


def test_arguments_are_told_apart_without_keeping_them() -> None:
    found = [fields.arguments_hash(text) for text in ('{"a": 1}', '{"a": 1}', '{"a": 2}')]

    assert (found[0], True) == (found[1], found[0] != found[2])


def test_huge_arguments_are_told_apart_by_their_length() -> None:
    assert fields.arguments_hash(HUGE) != fields.arguments_hash(HUGE + "x")


@pytest.mark.parametrize("value", [None, {}, {"a": 1}, 7, b"{}"])
def test_arguments_that_are_not_text_are_unknown(value: object) -> None:
    assert fields.arguments_hash(value) is None


ERROR_TEXTS: list[tuple[Any, str]] = [
    ({"message": "m", "data": {"error": "detail"}}, "detail"),
    ({"message": "m", "data": {"error": ""}}, "m"),
    ({"message": "m", "data": None}, "m"),
    ({"message": "m"}, "m"),
    ({"message": None, "data": {"error": 7}}, ""),
    (SimpleNamespace(message="m", data=SimpleNamespace(error="detail")), "detail"),
    ("text", ""),
    ({}, ""),
    (None, ""),
]


@pytest.mark.parametrize(("error", "expected"), ERROR_TEXTS)
def test_error_text_is_the_most_specific_one(error: Any, expected: str) -> None:
    assert expected == fields.error_text(error)


def failed(message: str, detail: str | None = None) -> dict[str, object]:
    return {"message": message, "data": {"error": detail} if detail else None}


TOOL_ERRORS: list[tuple[Any, Any, bool, ErrorClass | None]] = [
    (None, "ok", False, None),
    (None, None, False, None),
    (None, {"any": "thing"}, False, None),
    (failed("Error running tool", "no such table"), None, False, ErrorClass.OTHER),
    (failed("Error running tool", "Request timed out."), None, False, ErrorClass.TIMEOUT),
    (failed("Tool execution cancelled"), None, False, ErrorClass.CANCELLED),
    (failed("Tool call rejected", "x was manually rejected by user."), None, False, None),
    (None, "Tool 'slow' timed out after 0.05 seconds.", False, ErrorClass.TIMEOUT),
    (None, "He said: Tool 'slow' timed out after 0.05 seconds.", False, None),
    (None, "Error executing tool query: no such table", True, ErrorClass.OTHER),
    (None, {"type": "text", "text": "Error executing tool query: no"}, True, ErrorClass.OTHER),
    (None, "Error executing tool query: no such table", False, None),
    (None, "The words Error executing tool appear in it", True, None),
    (None, HUGE, True, None),
    (failed(HUGE), HUGE, True, ErrorClass.OTHER),
    ("broken", None, False, ErrorClass.OTHER),
    ({}, None, False, ErrorClass.OTHER),
]


@pytest.mark.parametrize(("error", "output", "is_mcp", "expected"), TOOL_ERRORS)
def test_tool_error(error: Any, output: Any, is_mcp: bool, expected: ErrorClass | None) -> None:
    assert expected is fields.tool_error(error, output, is_mcp=is_mcp)


METADATA = {
    "customer": "acme",
    "seat": 7,
    "flag": True,
    "secret": "s3cret",
    5: "x",
    "group_id": "m",
}
TAGS: list[tuple[Any, Any, set[str], Any]] = [
    (METADATA, "chat-1", {"customer"}, {"customer": "acme"}),
    (METADATA, "chat-1", {"customer", "seat"}, {"customer": "acme", "seat": "7"}),
    (METADATA, "chat-1", {"group_id"}, {"group_id": "chat-1"}),
    (METADATA, None, {"group_id"}, {"group_id": "m"}),
    (METADATA, "chat-1", {"flag", "nothing"}, None),
    (METADATA, "chat-1", set(), None),
    (None, "chat-1", {"group_id", "customer"}, {"group_id": "chat-1"}),
    ("customer=acme", None, {"customer"}, None),
    (["customer"], None, {"customer"}, None),
    ({"customer": HUGE}, None, {"customer"}, {"customer": HUGE[:128]}),
    ({"customer": {"name": "acme"}}, None, {"customer"}, None),
]


@pytest.mark.parametrize(("metadata", "group", "names", "expected"), TAGS)
def test_tags_are_those_that_are_asked_for(
    metadata: Any, group: Any, names: set[str], expected: Any
) -> None:
    assert expected == fields.tags(metadata, group, names)
