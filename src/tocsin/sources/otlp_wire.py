"""OTLP trace requests -> raw spans, decoding only the attributes that somebody wants.

Protobuf is parsed by a reduced descriptor in which `repeated KeyValue attributes` is declared as
`map<string, bytes>`: the two are the same on the wire, so the C parser builds the dictionary and
leaves each value undecoded.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec
from google.protobuf.message import DecodeError as ProtobufDecodeError

from tocsin.errors import DecodeError
from tocsin.sources.any_value import Value, decode_value
from tocsin.sources.otlp_descriptor import TraceRequest
from tocsin.sources.otlp_json import TraceRequestJson, decode_request, json_value

__all__ = ["Attributes", "RawEvent", "RawSpan", "decode_json", "decode_protobuf"]

Attributes: TypeAlias = dict[str, Value]

MAX_EVENTS: Final = 64
"""Events of a span that are looked at: some dialects write one for every streamed chunk."""
MAX_ATTRIBUTES: Final = 2_048
"""Attributes of a span that are looked at."""


class RawEvent(msgspec.Struct, frozen=True):
    """A span's event: its name, time and wanted attributes."""

    name: str
    time_ns: int
    attributes: Attributes


class RawSpan(msgspec.Struct, frozen=True):
    """A span as it was sent, with its wanted attributes only. Ids are lower-case hex."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started_ns: int
    ended_ns: int
    is_error: bool
    status_message: str
    scope: str
    resource: Attributes
    attributes: Attributes
    events: list[RawEvent]


def decode_protobuf(body: bytes, wanted: frozenset[str]) -> Iterator[RawSpan]:
    """Read a binary ExportTraceServiceRequest. Raises DecodeError if it is none."""
    try:
        request: Any = TraceRequest.FromString(body)
    except (ProtobufDecodeError, UnicodeDecodeError, ValueError) as error:
        raise DecodeError(f"not an OTLP trace request: {error}") from error
    for group in request.resource_spans:
        resource = _wanted(group.resource.attributes, wanted)
        for scoped in group.scope_spans:
            scope = scoped.scope.name
            for span in scoped.spans:
                parent = span.parent_span_id
                yield RawSpan(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    parent.hex() if parent and any(parent) else None,
                    span.name,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == 2,
                    span.status.message,
                    scope,
                    resource,
                    _wanted(span.attributes, wanted),
                    [
                        RawEvent(
                            event.name, event.time_unix_nano, _wanted(event.attributes, wanted)
                        )
                        for event in span.events[:MAX_EVENTS]
                    ],
                )


def _wanted(attributes: Any, wanted: frozenset[str]) -> Attributes:
    if len(attributes) > MAX_ATTRIBUTES:
        return {key: decode_value(attributes[key]) for key in wanted if key in attributes}
    return {key: decode_value(attributes[key]) for key in attributes if key in wanted}


def decode_json(body: bytes, wanted: frozenset[str]) -> Iterator[RawSpan]:
    """Read an OTLP/JSON ExportTraceServiceRequest. Raises DecodeError if it is none."""
    request: TraceRequestJson = decode_request(body)
    for group in request.resource_spans:
        resource = _wanted_json(group.resource.attributes, wanted)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                parent = span.parent_span_id.lower()
                yield RawSpan(
                    span.trace_id.lower(),
                    span.span_id.lower(),
                    parent if parent.strip("0") else None,
                    span.name,
                    int(span.start_time_unix_nano),
                    int(span.end_time_unix_nano),
                    span.status.code in (2, "STATUS_CODE_ERROR"),
                    span.status.message,
                    scoped.scope.name,
                    resource,
                    _wanted_json(span.attributes, wanted),
                    [
                        RawEvent(
                            event.name,
                            int(event.time_unix_nano),
                            _wanted_json(event.attributes, wanted),
                        )
                        for event in span.events[:MAX_EVENTS]
                    ],
                )


def _wanted_json(attributes: list[Any], wanted: frozenset[str]) -> Attributes:
    return {pair.key: json_value(pair.value) for pair in attributes if pair.key in wanted}
