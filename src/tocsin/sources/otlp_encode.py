"""Observed spans -> an OTLP/JSON trace request, by OpenTelemetry's GenAI conventions.

Only what is counted leaves the process: names, numbers and classes, never content.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Outcome, Run
from tocsin.model.span import Kind, Observation, Span
from tocsin.sources import tocsin_attributes as t

__all__ = ["Finished", "derived_id", "encode_traces", "otlp_span_id", "otlp_trace_id"]

Pair: TypeAlias = tuple[str, "str | bool | int | float | None"]

HEX: Final = frozenset("0123456789abcdef")
CALLS: Final = frozenset({Kind.LLM, Kind.EMBEDDING})
INTERNAL, CLIENT, ERROR = 1, 3, 2
AGENT: Final = "gen_ai.agent.name"
NAMED_BY: Final = {
    Kind.AGENT: AGENT,
    Kind.STEP: AGENT,
    Kind.TOOL: "gen_ai.tool.name",
}


class Finished(msgspec.Struct, frozen=True):
    """A span that ended and, on the span that reports it, the run that ended with it."""

    observation: Observation
    run: Run | None = None


def encode_traces(
    items: Sequence[Finished],
    resource: Mapping[str, str | int],
    *,
    budget_worker: str | None = None,
) -> bytes:
    """Write an ExportTraceServiceRequest of one resource.

    budget_worker: as whom this process reports what its calls cost, besides.
    """
    spans = [_span(item, budget_worker) for item in items]
    return msgspec.json.encode(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(resource.items())},
                    "scopeSpans": [{"scope": {"name": t.SCOPE}, "spans": spans}],
                }
            ]
        }
    )


def otlp_trace_id(trace_id: str) -> str:
    """32 hex digits: the SDK's own, or a digest of an id of another shape."""
    return _hex(trace_id.removeprefix("trace_"), 32) or derived_id(trace_id, 16)


def otlp_span_id(span_id: str) -> str:
    """16 hex digits: the SDK's ids are longer, so nearly always a digest."""
    return _hex(span_id.removeprefix("span_"), 16) or derived_id(span_id, 8)


def derived_id(text: str, size: int) -> str:
    """`size` bytes in hex that depend on nothing but the text."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=size).hexdigest()


def _hex(text: str, length: int) -> str | None:
    text = text.lower()
    is_id = len(text) == length and set(text) <= HEX and text.strip("0")
    return text if is_id else None


def _span(item: Finished, budget_worker: str | None) -> dict[str, Any]:
    observation = item.observation
    span = observation.span
    operation = t.OPERATIONS.get(span.kind)
    about = span.model if span.kind in CALLS else span.name
    found: dict[str, Any] = {
        "traceId": otlp_trace_id(span.trace_id),
        "spanId": otlp_span_id(span.span_id),
        "name": f"{operation or span.kind} {about or UNKNOWN}",
        "kind": CLIENT if span.kind in CALLS else INTERNAL,
        "startTimeUnixNano": str(span.started_ns),
        "endTimeUnixNano": str(span.ended_ns),
        "attributes": _attributes(_pairs(observation, item.run, budget_worker)),
    }
    if span.parent_id is not None:
        found["parentSpanId"] = otlp_span_id(span.parent_id)
    if span.error is not None or (item.run is not None and item.run.outcome is not Outcome.OK):
        found["status"] = {"code": ERROR}
    return found


def _pairs(observation: Observation, run: Run | None, budget_worker: str | None) -> Iterator[Pair]:
    span = observation.span
    yield "gen_ai.operation.name", t.OPERATIONS.get(span.kind)
    yield t.KIND, span.kind
    yield "gen_ai.workflow.name", observation.workflow
    yield "gen_ai.conversation.id", span.conversation_id
    yield t.RUN_ID, otlp_span_id(observation.run_id or span.trace_id)
    if span.kind in NAMED_BY:
        yield NAMED_BY[span.kind], span.name
    elif span.name != (observation.workflow if span.kind is Kind.RUN else UNKNOWN):
        yield t.NAME, span.name
    yield "error.type", span.error
    yield t.OUTCOME, span.outcome
    if span.calls != 1:
        yield t.CALLS, span.calls
    if span.kind in CALLS:
        yield from _call(observation)
        if budget_worker is not None:
            yield t.BUDGET_WORKER, budget_worker
            for tag, value in (observation.tags or {}).items():
                yield t.TAG + tag, value
    else:
        yield from _work(observation)
    if run is not None:
        yield t.RUN_OUTCOME, run.outcome
        for name, field in t.RUN_COUNTS.items():
            yield name, getattr(run, field)


def _work(observation: Observation) -> Iterator[Pair]:
    span = observation.span
    match span.kind:
        case Kind.STEP:
            yield t.NESTED, observation.nested or None
        case Kind.TOOL:
            yield AGENT, observation.agent
            yield t.ARGUMENTS, span.arguments
            yield t.RETRY, observation.retry or None
        case Kind.HANDOFF:
            yield "gen_ai.handoff.from_agent", span.from_agent
            yield "gen_ai.handoff.to_agent", span.to_agent
        case Kind.GUARDRAIL:
            yield t.TRIGGERED, span.triggered


def _call(observation: Observation) -> Iterator[Pair]:
    span, usage = observation.span, observation.span.usage
    yield AGENT, observation.agent
    yield "gen_ai.provider.name", observation.provider
    yield "gen_ai.request.model", span.model
    yield "gen_ai.response.model", span.response_model
    yield "gen_ai.response.time_to_first_chunk", span.first_token_s
    yield "openai.response.service_tier", span.service_tier
    yield "server.address", _host(span)
    if usage is not None:
        yield "gen_ai.usage.input_tokens", usage.input_tokens
        yield "gen_ai.usage.output_tokens", usage.output_tokens
        yield "gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens or None
        yield "gen_ai.usage.cache_write.input_tokens", usage.cache_write_tokens or None
        yield "gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens or None
    if observation.cost is not None:
        yield t.COST, float(observation.cost.total)


def _host(span: Span) -> str | None:
    """A gateway's path may hold an account's name or key; its host does not."""
    try:
        return urlsplit(span.endpoint).hostname if span.endpoint else None
    except ValueError:
        return None


def _attributes(pairs: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in pairs if value is not None]


def _value(value: str | bool | int | float) -> dict[str, Any]:
    match value:
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case _:
            return {"doubleValue": value}
