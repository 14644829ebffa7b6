"""Makes OTLP requests out of plain values."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tocsin.model.span import Span
from tocsin.sources.otlp import Decoded, decode_traces

NOW_NS = 1_800_000_000 * 10**9
START_NS = NOW_NS - 60 * 10**9
MS = 1_000_000

SCALARS = (
    st.text(max_size=200)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=40)
)
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)

Event = tuple[str, int, Mapping[str, object]]
"""Name, nanoseconds after the span's start, attributes."""


def any_value(plain: object) -> AnyValue:
    match plain:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=plain)
        case int():
            return AnyValue(int_value=plain)
        case float():
            return AnyValue(double_value=plain)
        case bytes():
            return AnyValue(bytes_value=plain)
        case list() | tuple():
            wrapped = AnyValue()
            wrapped.array_value.SetInParent()
            wrapped.array_value.values.extend(any_value(item) for item in plain)
            return wrapped
        case dict():
            wrapped = AnyValue()
            wrapped.kvlist_value.SetInParent()
            wrapped.kvlist_value.values.extend(key_values(plain))
            return wrapped
        case _:
            return AnyValue(string_value=str(plain))


def key_values(attributes: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(plain)) for key, plain in attributes.items()]


def otlp_span(
    name: str = "a span",
    attributes: Mapping[str, object] | None = None,
    *,
    events: Sequence[Event] = (),
    error: str | None = None,
    **fields: Any,
) -> trace_pb2.Span:
    """A span of 100 ms; `error` is the message of a failed one's status."""
    given: dict[str, Any] = {
        "trace_id": b"t" * 16,
        "span_id": b"s" * 8,
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 100 * MS,
        **fields,
    }
    span = trace_pb2.Span(name=name, attributes=key_values(attributes or {}), **given)
    for event, after_ns, details in events:
        at_ns = given["start_time_unix_nano"] + after_ns
        span.events.add(name=event, time_unix_nano=at_ns, attributes=key_values(details))
    if error is not None:
        span.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        span.status.message = error
    return span


def request(
    *spans: trace_pb2.Span,
    scope: str = "a.scope",
    resource: Mapping[str, object] | None = None,
) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    resource_spans = made.resource_spans.add()
    resource_spans.resource.attributes.extend(key_values(resource or {}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.spans.extend(spans)
    return made


def decode_one(
    name: str = "a span",
    attributes: Mapping[str, object] | None = None,
    *,
    scope: str = "a.scope",
    resource: Mapping[str, object] | None = None,
    **fields: Any,
) -> Span:
    """The span that comes of one made by `otlp_span`."""
    body = request(otlp_span(name, attributes, **fields), scope=scope, resource=resource)
    (span,) = decode_traces(body.SerializeToString(), is_json=False, now_ns=NOW_NS).spans
    return span


def decode_protobuf(body: bytes) -> Decoded:
    return decode_traces(body, is_json=False, now_ns=NOW_NS)


def decode_json(body: bytes) -> Decoded:
    return decode_traces(body, is_json=True, now_ns=NOW_NS)
