"""OTLP bytes are read as opentelemetry-proto reads them, and nothing that comes in crashes."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from tests.fakes.mutations import as_json, mutate
from tests.fakes.otlp import (
    NOW_NS,
    SCALARS,
    START_NS,
    VALUES,
    any_value,
    decode_json,
    decode_protobuf,
    otlp_span,
    request,
)
from tocsin.errors import DecodeError
from tocsin.sources.otlp import Decoded
from tocsin.sources.otlp_json import parse_json
from tocsin.sources.otlp_wire import Batch, RawEvent, RawSpan, parse_protobuf

ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=12), VALUES, max_size=6)
AGENT_ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        [
            *("gen_ai.operation.name", "gen_ai.request.model", "gen_ai.usage.input_tokens"),
            *("openinference.span.kind", "error.type", "ai.operationId", "session.id"),
            *("gen_ai.response.finish_reasons", "llm.cost.total", "gen_ai.tool.name"),
        ]
    ),
    SCALARS | st.sampled_from(["chat", "LLM", "execute_tool", "invoke_agent"]),
    max_size=8,
)
IDS = st.binary(min_size=8, max_size=8)


@st.composite
def spans(draw: st.DrawFn) -> OtlpSpan:
    events = [
        (draw(st.text(max_size=9)), 5, draw(ATTRIBUTES)) for _ in range(draw(st.integers(0, 2)))
    ]
    return otlp_span(
        draw(st.text(max_size=20)),
        {**draw(ATTRIBUTES), **draw(AGENT_ATTRIBUTES)},
        events=events,
        error=draw(st.none() | st.text(max_size=20)),
        span_id=draw(IDS),
        parent_span_id=draw(st.just(b"") | IDS),
        start_time_unix_nano=draw(st.integers(0, NOW_NS)),
    )


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    made = request(
        *draw(st.lists(spans(), max_size=4)),
        scope=draw(st.sampled_from(["logfire", "strands.x", "y"])),
        resource=draw(st.just({"service.name": "shop"}) | ATTRIBUTES),
    )
    made.MergeFrom(request(*draw(st.lists(spans(), max_size=2))))
    return made


def contents(batches: Iterator[Batch]) -> list[Any]:
    """Everything that batches hold, as plain values."""
    return [
        (
            *(batch.service, batch.environment, batch.scope),
            *(span.trace_id, span.span_id, span.parent_span_id, span.name),
            *(span.start_time_unix_nano, span.end_time_unix_nano),
            *(span.status.code, span.status.message),
            values(batch, span.attributes),
            [(e.name, e.time_unix_nano, values(batch, e.attributes)) for e in events(batch, span)],
        )
        for batch in batches
        for span in filter(None, batch.spans)
    ]


def values(batch: Batch, attributes: Mapping[str, Any]) -> dict[str, str]:
    return {key: repr(batch.wire.value(raw)) for key, raw in attributes.items()}


def events(batch: Batch, span: RawSpan) -> list[RawEvent]:
    return list(filter(None, map(batch.wire.event, span.events)))


def full_walk(made: ExportTraceServiceRequest) -> list[Any]:
    """What `contents` should find, by opentelemetry-proto's own classes."""

    def table(pairs: Any) -> dict[str, Any]:
        return {pair.key: pair.value.SerializeToString() for pair in pairs}

    return [
        (
            *(span.trace_id, span.span_id, span.parent_span_id, span.name),
            *(span.start_time_unix_nano, span.end_time_unix_nano),
            *(span.status.code, span.status.message),
            table(span.attributes),
            [(e.name, e.time_unix_nano, table(e.attributes)) for e in span.events],
        )
        for resource_spans in made.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


@pytest.mark.slow
@given(requests())
def test_reads_what_the_full_descriptor_reads(made: ExportTraceServiceRequest) -> None:
    batches = parse_protobuf(made.SerializeToString())
    found = [
        (
            *(span.trace_id, span.span_id, span.parent_span_id, span.name),
            *(span.start_time_unix_nano, span.end_time_unix_nano),
            *(span.status.code, span.status.message),
            dict(span.attributes),
            [(e.name, e.time_unix_nano, dict(e.attributes)) for e in events(batch, span)],
        )
        for batch in batches
        for span in filter(None, batch.spans)
    ]
    assert full_walk(made) == found


@pytest.mark.slow
@given(requests())
def test_json_says_the_same_as_protobuf(made: ExportTraceServiceRequest) -> None:
    protobuf, json = made.SerializeToString(), as_json(made)
    assert contents(parse_protobuf(protobuf)) == contents(parse_json(json))
    decoded, same = decode_protobuf(protobuf), decode_json(json)
    assert repr(decoded) == repr(same)


def test_the_last_of_equal_attribute_names_wins() -> None:
    span = otlp_span()
    for model in ("first", "last"):
        span.attributes.add(key="gen_ai.request.model", value=any_value(model))
    made = request(span)
    (by_protobuf,) = parse_protobuf(made.SerializeToString())
    (by_json,) = parse_json(as_json(made))
    for batch in (by_protobuf, by_json):
        (one,) = filter(None, batch.spans)
        assert "last" == batch.wire.value(one.attributes["gen_ai.request.model"])


def test_a_broken_span_in_protobuf_costs_no_other() -> None:
    made = request(otlp_span("MARKED"), otlp_span("whole"))
    body = made.SerializeToString().replace(b"*\x06MARKED", b"*\x7fMARKED")
    decoded = decode_protobuf(body)
    assert (["whole"], {"unreadable": 1}) == ([s.name for s in decoded.spans], decoded.skipped)


def test_a_broken_event_costs_no_span() -> None:
    made = request(otlp_span("x", events=[("MARKED", 5, {}), ("exception", 6, {})], error="no"))
    body = made.SerializeToString().replace(b"\x12\x06MARKED", b"\x12\x7fMARKED")
    (span,) = decode_protobuf(body).spans
    assert span.error is not None


def test_text_that_is_no_utf8_costs_no_span() -> None:
    made = request(otlp_span("NAME", {"KEY": "x", "gen_ai.operation.name": "chat"}), scope="SCOPE")
    body = made.SerializeToString()
    for name in (b"NAME", b"KEY", b"SCOPE"):
        body = body.replace(name, b"\xff" + name[1:])
    decoded = decode_protobuf(body)
    assert [("llm", "\ufffdAME")] == [(span.kind, span.name) for span in decoded.spans]


@pytest.mark.parametrize(
    "body",
    [b"\x0a\x05ab", b"not protobuf at all", b"\xff" * 40, b'{"resourceSpans": []}'],
    ids=["cut off", "text", "noise", "JSON"],
)
def test_other_bytes_are_no_protobuf_request(body: bytes) -> None:
    with pytest.raises(DecodeError, match="no OTLP trace request in protobuf"):
        decode_protobuf(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b"\xff", b'{"resourceSpans": 5}', b"\x0a\x00"),
        b'{"resourceSpans": [{"scopeSpans": 1}]}',
        b'{"resourceSpans":' + b"[" * 100_000,
    ],
)
def test_other_bytes_are_no_json_request(body: bytes) -> None:
    with pytest.raises(DecodeError, match="no OTLP trace request in JSON"):
        decode_json(body)


def test_an_empty_body_is_an_empty_request() -> None:
    assert Decoded([], Counter(), Counter()) == decode_protobuf(b"")
    assert Decoded([], Counter(), Counter()) == decode_json(b"{}")


def test_a_broken_span_in_json_costs_no_other() -> None:
    spans = [
        {"traceId": 5},
        {"traceId": "74" * 16, "spanId": "73" * 8, "startTimeUnixNano": f"{START_NS}"},
        {"traceId": "74" * 16, "spanId": "73" * 8, "startTimeUnixNano": "x"},
    ]
    body = msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    decoded = decode_json(body)
    assert [START_NS] == [span.started_ns for span in decoded.spans]
    assert ({"unreadable": 2}, {"one_time": 1}) == (decoded.skipped, decoded.repaired)


def test_json_enums_may_be_names_and_broken_values_are_none() -> None:
    span = {
        "traceId": "74" * 16,
        "spanId": "73" * 8,
        "startTimeUnixNano": START_NS,
        "status": {"code": "STATUS_CODE_ERROR", "message": "Request timed out."},
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.request.model", "value": {"stringValue": 5}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "9" * 30}},
        ],
    }
    body = msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    (found,) = decode_json(body).spans
    assert ("llm", "timeout", None, None) == (found.kind, found.error, found.model, found.usage)


@pytest.mark.slow
def test_mutated_requests_are_refused_or_read() -> None:
    chance = random.Random(20)
    made = request(
        otlp_span("chat", {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 300}),
        otlp_span("t", {"openinference.span.kind": "TOOL", "x": [1, "a", {"b": 2.5}]}, error="no"),
        otlp_span("e", events=[("exception", 5, {"exception.type": "openai.RateLimitError"})]),
        resource={"service.name": "shop"},
    )
    protobuf, json = made.SerializeToString(), as_json(made)
    outcomes = {"read": 0, "refused": 0}
    until = time.monotonic() + 4
    while time.monotonic() < until:
        for decode, body in ((decode_protobuf, protobuf), (decode_json, json)):
            try:
                decode(mutate(body, chance))
                outcomes["read"] += 1
            except DecodeError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 100, outcomes


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_noise_is_refused_or_read(noise: bytes) -> None:
    for decode in (decode_protobuf, decode_json):
        try:
            decode(noise)
        except DecodeError:
            continue
