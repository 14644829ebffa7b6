"""OTLP/JSON trace requests -> the same batches as otlp_wire makes of protobuf."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from tocsin.errors import DecodeError
from tocsin.sources.any_value import Value
from tocsin.sources.otlp_wire import (
    ENVIRONMENT,
    MAX_ORIGIN,
    OLD_ENVIRONMENT,
    Batch,
    RawStatus,
    Wire,
    bounded,
)

__all__ = ["parse_json"]

MAX_DEPTH: Final = 4
MAX_ITEMS: Final = 64
MAX_DIGITS: Final = 20
STATUS_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}

T = TypeVar("T")


class Camel(msgspec.Struct, rename="camel", frozen=True):
    """JSON names are the protobuf names in camel case; unknown ones are skipped."""


class KeyValue(Camel, frozen=True):
    """An attribute; its value is decoded when it is asked for."""

    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")


class Resource(Camel, frozen=True):
    """Who sent the spans."""

    attributes: list[KeyValue] = []


class Scope(Camel, frozen=True):
    """Which instrumentation made the spans."""

    name: str = ""


class ScopeSpans(Camel, frozen=True):
    """Spans, each still JSON: a broken one must not cost the others."""

    scope: Scope | None = None
    spans: list[msgspec.Raw] = []


class ResourceSpans(Camel, frozen=True):
    """Spans of one process."""

    resource: Resource | None = None
    scope_spans: list[ScopeSpans] = []


class Request(Camel, frozen=True):
    """ExportTraceServiceRequest."""

    resource_spans: list[ResourceSpans] = []


class JsonStatus(Camel, frozen=True):
    """A span's status; enums may be numbers or names."""

    code: int | str = 0
    message: str = ""


class JsonEvent(Camel, frozen=True):
    """Something that happened during a span."""

    time_unix_nano: int | str = 0
    name: str = ""
    attributes: list[KeyValue] = []


class JsonSpan(Camel, frozen=True):
    """A span; ids are hexadecimal, 64-bit integers may be text."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    name: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[KeyValue] = []
    events: list[msgspec.Raw] = []
    status: JsonStatus | None = None


class Array(Camel, Generic[T], frozen=True):
    """Wrapper of array and map values."""

    values: list[T] = []


class AnyValue(Camel, frozen=True):
    """One of these is set."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: Array[msgspec.Raw] | None = None
    kvlist_value: Array[KeyValue] | None = None


class Status(msgspec.Struct):
    """RawStatus."""

    code: int
    message: str | bytes


class Event(msgspec.Struct):
    """RawEvent."""

    name: str | bytes
    time_unix_nano: int
    attributes: Mapping[str, Any]


class Span(msgspec.Struct):
    """RawSpan."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str | bytes
    start_time_unix_nano: int
    end_time_unix_nano: int
    attributes: Mapping[str, Any]
    events: Sequence[Any]
    status: RawStatus


REQUEST: Final = msgspec.json.Decoder(Request)
SPAN: Final = msgspec.json.Decoder(JsonSpan)
EVENT: Final = msgspec.json.Decoder(JsonEvent)
ANY_VALUE: Final = msgspec.json.Decoder(AnyValue)
BROKEN: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""msgspec raises ValueError for text that is no UTF-8 in places."""


def parse_json(body: bytes) -> Iterator[Batch]:
    """Read an ExportTraceServiceRequest in OTLP/JSON.

    Raises DecodeError where the body is not one.
    """
    try:
        request = REQUEST.decode(body)
    except BROKEN as error:
        raise DecodeError(f"the body is no OTLP trace request in JSON: {error}") from error
    for resource_spans in bounded(request.resource_spans):
        resource = _table(resource_spans.resource.attributes) if resource_spans.resource else {}
        names = ("service.name", ENVIRONMENT, OLD_ENVIRONMENT)
        service, new, old = (_text(resource.get(name)) for name in names)
        for scope_spans in bounded(resource_spans.scope_spans):
            scope = scope_spans.scope.name[:MAX_ORIGIN] if scope_spans.scope else ""
            yield Batch(service, new or old, scope, map(_span, bounded(scope_spans.spans)), JSON)


def read_json_value(raw: Any) -> Value:
    """Decode an attribute's value; None where it is unset, broken or nested too deep."""
    return _value(raw, 0)


def _value(raw: bytes | msgspec.Raw, depth: int) -> Value:
    try:
        value = ANY_VALUE.decode(raw)
        return _scalar(value) if depth >= MAX_DEPTH else _any_value(value, depth)
    except BROKEN:
        return None


def _any_value(value: AnyValue, depth: int) -> Value:
    if value.array_value is not None:
        items = [_value(raw, depth + 1) for raw in value.array_value.values[:MAX_ITEMS]]
        return tuple(
            item if isinstance(item, str) else str(item)
            for item in items
            if isinstance(item, str | bool | int | float)
        )
    if value.kvlist_value is not None:
        pairs = value.kvlist_value.values[:MAX_ITEMS]
        return {pair.key: _value(pair.value, depth + 1) for pair in pairs}
    return _scalar(value)


def _scalar(value: AnyValue) -> Value:
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    if value.bytes_value is not None:
        return base64.b64decode(value.bytes_value)
    return value.bool_value


def _span(raw: msgspec.Raw) -> Span | None:
    try:
        span = SPAN.decode(raw)
        return Span(
            trace_id=_id(span.trace_id),
            span_id=_id(span.span_id),
            parent_span_id=_id(span.parent_span_id or ""),
            name=span.name,
            start_time_unix_nano=_integer(span.start_time_unix_nano),
            end_time_unix_nano=_integer(span.end_time_unix_nano),
            attributes=_table(span.attributes),
            events=span.events,
            status=_status(span.status),
        )
    except BROKEN:
        return None


def _event(raw: msgspec.Raw) -> Event | None:
    try:
        event = EVENT.decode(raw)
        return Event(event.name, _integer(event.time_unix_nano), _table(event.attributes))
    except BROKEN:
        return None


def _status(status: JsonStatus | None) -> Status:
    if status is None:
        return Status(0, "")
    code = status.code
    return Status(code if isinstance(code, int) else STATUS_CODES.get(code, 0), status.message)


def _table(attributes: list[KeyValue]) -> dict[str, bytes]:
    return {pair.key: bytes(pair.value) for pair in attributes}


def _text(raw: bytes | None) -> str | None:
    value = None if raw is None else read_json_value(raw)
    return value[:MAX_ORIGIN] if isinstance(value, str) and value else None


def _id(text: str) -> bytes:
    """Bytes of a hexadecimal id; text that is none becomes bytes of no id's length."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b"?"


def _integer(value: int | str) -> int:
    if isinstance(value, int):
        return value
    if len(value) > MAX_DIGITS:
        raise ValueError("not a 64-bit integer")
    return int(value)


JSON: Final = Wire(read_json_value, _event)
