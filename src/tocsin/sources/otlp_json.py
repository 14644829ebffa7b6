"""OTLP/JSON, typed by msgspec: ids are hex, 64-bit integers are strings or numbers."""

from typing import Any, TypeAlias

import msgspec

from tocsin.errors import DecodeError
from tocsin.sources.any_value import Value

__all__ = ["TraceRequestJson", "decode_request", "json_value"]

Int64: TypeAlias = int | str


class JsonMessage(msgspec.Struct, rename="camel"):
    """A message whose fields are lowerCamelCase in JSON."""


class KeyValueJson(JsonMessage):
    """One attribute."""

    key: str = ""
    value: dict[str, Any] | None = None


class ResourceJson(JsonMessage):
    """Who sent it."""

    attributes: list[KeyValueJson] = []


class ScopeJson(JsonMessage):
    """Which instrumentation made it."""

    name: str = ""


class StatusJson(JsonMessage):
    """How a span ended."""

    code: int | str = 0
    message: str = ""


class EventJson(JsonMessage):
    """Something that happened in a span."""

    time_unix_nano: Int64 = 0
    name: str = ""
    attributes: list[KeyValueJson] = []


class SpanJson(JsonMessage):
    """A span."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    start_time_unix_nano: Int64 = 0
    end_time_unix_nano: Int64 = 0
    attributes: list[KeyValueJson] = []
    events: list[EventJson] = []
    status: StatusJson = msgspec.field(default_factory=StatusJson)


class ScopeSpansJson(JsonMessage):
    """Spans of one scope."""

    scope: ScopeJson = msgspec.field(default_factory=ScopeJson)
    spans: list[SpanJson] = []


class ResourceSpansJson(JsonMessage):
    """Spans of one resource."""

    resource: ResourceJson = msgspec.field(default_factory=ResourceJson)
    scope_spans: list[ScopeSpansJson] = []


class TraceRequestJson(JsonMessage):
    """ExportTraceServiceRequest."""

    resource_spans: list[ResourceSpansJson] = []


DECODER = msgspec.json.Decoder(TraceRequestJson)


def decode_request(body: bytes) -> TraceRequestJson:
    """Read a JSON request. Raises DecodeError that says what is wrong, and where."""
    try:
        return DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not an OTLP/JSON trace request: {error}") from error


def json_value(value: dict[str, Any] | None, depth: int = 0) -> Value:
    """Read an AnyValue; None for what is empty, unknown or too deep."""
    if not value or depth > 4:
        return None
    kind, content = next(iter(value.items()))
    match kind:
        case "stringValue" | "boolValue" | "doubleValue" | "bytesValue":
            return content if isinstance(content, str | bool | int | float) else None
        case "intValue":
            try:
                return int(content)
            except (TypeError, ValueError):
                return None
        case "arrayValue" if isinstance(content, dict):
            items = content.get("values", [])
            return tuple(json_value(item, depth + 1) for item in items if isinstance(item, dict))
        case "kvlistValue" if isinstance(content, dict):
            pairs = [pair for pair in content.get("values", []) if isinstance(pair, dict)]
            return {
                str(pair.get("key", "")): json_value(pair.get("value"), depth + 1) for pair in pairs
            }
        case _:
            return None
