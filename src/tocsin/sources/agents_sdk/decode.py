"""The SDK's events -> Tocsin's records, on the worker's thread."""

import sys
from collections import OrderedDict
from collections.abc import Mapping
from time import time_ns
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.run import Breach, Outcome
from tocsin.model.span import ErrorClass, Kind, RunEnd, Span, SpanStart, TraceEnd
from tocsin.sources.agents_sdk import events, fields
from tocsin.sources.agents_sdk.events import Event, Ticket
from tocsin.sources.agents_sdk.results import DataTimes, ending, tool_result

__all__ = ["Decoder", "Malformed", "Record"]

Record: TypeAlias = SpanStart | Span | RunEnd | TraceEnd | Breach

DEFAULT_WORKFLOW: Final = "Agent workflow"
"""RunConfig's default: says nothing, so the trace's name is used where it says more."""
MAX_TRACES: Final = 10_000
MAX_OPEN: Final = 100_000
MAX_CLOSED: Final = 4_096

KINDS: Final = {
    "task": Kind.RUN,
    "turn": Kind.STEP,
    "agent": Kind.AGENT,
    "response": Kind.LLM,
    "generation": Kind.LLM,
    "function": Kind.TOOL,
    "handoff": Kind.HANDOFF,
    "guardrail": Kind.GUARDRAIL,
}


class Malformed(Exception):  # noqa: N818 - a verdict on the input, not an error of ours
    """An event that cannot be read; the message is a reason fit for a metric label."""


class OpenSpan(msgspec.Struct):
    """What is known of a span before it ends."""

    started_ns: int
    started_mono_ns: int
    model: str | None = None
    endpoint: str | None = None
    failure: ErrorClass | None = None
    first_token_mono_ns: int | None = None


class Traced(NamedTuple):
    """What is known of a trace."""

    name: str | None = None
    group_id: str | None = None
    tags: dict[str, str] | None = None


UNTRACED: Final = Traced()


class Decoder:
    """Remembers open spans and traces, both bounded, and turns ends into spans.

    Several processors may hand over the same callback: the second is dropped here. Not
    thread-safe; one worker owns it.
    """

    def __init__(self, *, open_ttl_ns: int) -> None:
        self._open: OrderedDict[str, OpenSpan] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._traces: OrderedDict[str, Traced] = OrderedDict()
        self._open_ttl_ns = open_ttl_ns
        self.data_times: DataTimes = {}
        self.tag_names: frozenset[str] = frozenset()
        """Tags of traces and runs that are kept; all others are not even looked at."""
        self.unreadable_spans = 0
        """Spans of which nothing is known but that they ended."""
        self.untraced_runs = 0
        """Runs that the runner saw and the processor did not: tracing is switched off."""

    def decode(self, event: Event) -> Record | None:
        """Turn an event into a record, or None where it only adds to what is remembered.

        Raises Malformed for spans that cannot be read.
        """
        kind, subject, at_ns, detail = event
        match kind:
            case events.SPAN_START:
                return self._span_start(subject, at_ns, detail)
            case events.SPAN_END:
                return self._span_end(subject, at_ns)
            case events.TRACE_START:
                self._trace_start(subject)
            case events.TRACE_END:
                return TraceEnd(trace_id=_trace_id(subject), ended_ns=time_ns())
            case events.RUN_END:
                return self._run_end(subject, detail)
            case events.LIMIT:
                return _breach(subject, detail)
            case _:
                self._call(kind, subject, at_ns, detail)
        return None

    def expire(self, now_mono_ns: int) -> None:
        """Forget spans that have been open for longer than the time allowed."""
        horizon = now_mono_ns - self._open_ttl_ns
        while self._open:
            span_id, oldest = next(iter(self._open.items()))
            if oldest.started_mono_ns > horizon:
                return
            del self._open[span_id]

    def _trace_start(self, trace: Any) -> None:
        name = clean_name(trace.name)
        group = fields.identifier(getattr(trace, "group_id", None))
        tags = None
        if self.tag_names:
            tags = fields.tags(getattr(trace, "metadata", None), group, self.tag_names)
        _put(self._traces, _trace_id(trace), Traced(name, group, tags), MAX_TRACES)

    def _run_end(self, ticket: Ticket, outcome: Outcome | None) -> RunEnd | None:
        if ticket.span_id is None:
            self.untraced_runs += 1
            return None
        return RunEnd(span_id=ticket.span_id, outcome=outcome, ended_ns=time_ns())

    def _call(self, kind: int, span_id: str, at_ns: int, detail: Any) -> None:
        known = self._open.get(span_id)
        if known is None:
            return
        if kind == events.CALL:
            known.model, known.endpoint = detail
        elif kind == events.CALL_FAILED:
            known.failure = detail
        elif known.first_token_mono_ns is None:
            known.first_token_mono_ns = at_ns

    def _span_start(self, span: Any, at_ns: int, ticket: Ticket | None) -> SpanStart | None:
        trace_id, span_id, parent_id = _ids(span)
        if span_id in self._open or span_id in self._closed:
            return None
        started_ns = fields.timestamp_ns(span.started_at) or time_ns()
        _put(self._open, span_id, OpenSpan(started_ns, at_ns), MAX_OPEN)
        data = span.span_data
        kind = KINDS.get(data.type, Kind.OTHER)
        is_root = kind in (Kind.RUN, Kind.AGENT) and ticket is not None and ticket.span_id is None
        if is_root and ticket is not None:
            ticket.span_id, ticket.trace_id = span_id, trace_id
        trace_name, conversation_id, tags = self._traces.get(trace_id, UNTRACED)
        if is_root and ticket is not None and ticket.tags:
            tags = {**(tags or {}), **ticket.tags}
        name = _name(kind, data, trace_name)
        return SpanStart(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            kind=kind,
            name=name,
            workflow=name if kind is Kind.RUN else trace_name or UNKNOWN,
            started_ns=started_ns,
            started_mono_ns=at_ns,
            conversation_id=conversation_id,
            tags=tags,
            is_guarded=is_root and ticket is not None and ticket.is_guarded,
            reports_end=is_root,
        )

    def _span_end(self, span: Any, at_ns: int) -> Span | None:
        trace_id, span_id, parent_id = _ids(span)
        if span_id in self._closed:
            return None
        _put(self._closed, span_id, None, MAX_CLOSED)
        known = self._open.pop(span_id, None)
        started_ns, ended_ns = _times(span, known, at_ns)
        data = span.span_data
        kind = KINDS.get(data.type, Kind.OTHER)
        trace_name = self._traces.get(trace_id, UNTRACED).name
        return Span(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            kind=kind,
            name=_name(kind, data, trace_name),
            started_ns=started_ns,
            ended_ns=ended_ns,
            **self._details(kind, span, known),
        )

    def _details(self, kind: Kind, span: Any, known: OpenSpan | None) -> dict[str, Any]:
        try:
            found = _details(kind, span.span_data, span.error, known)
            if kind is Kind.TOOL:
                found["arguments"] = fields.arguments_hash(span.span_data.input, span.trace_id)
                found["result"] = tool_result(span.span_data, self.data_times)
            return found
        except Exception:  # noqa: BLE001 - fields may raise anything; that the span ended is true
            self.unreadable_spans += 1
            return {}


def _breach(ticket: Ticket, breach: Breach) -> Breach:
    run_id, trace_id = ticket.span_id or UNKNOWN, ticket.trace_id or UNKNOWN
    return msgspec.structs.replace(breach, run_id=run_id, trace_id=trace_id)


def _put(table: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    table[key] = value
    if len(table) > limit:
        table.popitem(last=False)


def _trace_id(source: Any) -> str:
    trace_id = fields.identifier(source.trace_id)
    if trace_id is None:
        raise Malformed("no trace id")
    return trace_id


def _ids(span: Any) -> tuple[str, str, str | None]:
    span_id = fields.identifier(span.span_id)
    if span_id is None:
        raise Malformed("no span id")
    return _trace_id(span), span_id, fields.identifier(span.parent_id)


def _times(span: Any, known: OpenSpan | None, at_ns: int) -> tuple[int, int]:
    """Wall-clock start and end; the distance is monotonic where the start was seen."""
    if known is not None:
        return known.started_ns, known.started_ns + at_ns - known.started_mono_ns
    ended_ns = fields.timestamp_ns(span.ended_at) or time_ns()
    return fields.timestamp_ns(span.started_at) or ended_ns, ended_ns


def _name(kind: Kind, data: Any, trace_name: str | None) -> str:
    match kind:
        case Kind.RUN:
            name = clean_name(data.name)
            is_silent = name is None or name == DEFAULT_WORKFLOW
            return (trace_name if is_silent else name) or name or UNKNOWN
        case Kind.STEP:
            return clean_name(data.agent_name) or UNKNOWN
        case _:
            return clean_name(getattr(data, "name", None)) or UNKNOWN


def _details(kind: Kind, data: Any, error: object, known: OpenSpan | None) -> dict[str, Any]:
    match kind:
        case Kind.LLM:
            return _llm(data, error, known)
        case Kind.TOOL:
            is_mcp = data.mcp_data is not None
            return {
                "error": fields.tool_error(error, data.output, is_mcp=is_mcp),
            }
        case Kind.HANDOFF:
            return _handoff(data, error)
        case Kind.GUARDRAIL:
            return {"triggered": data.triggered is True}
        case Kind.AGENT | Kind.STEP:
            return {} if error is None else _failed_step(error)
        case Kind.RUN:
            return {"usage": fields.usage(data.usage), "calls": 0}
        case _:
            return {}


def _failed_step(error: object) -> dict[str, Any]:
    message = fields.text(fields.field(error, "message")) or ""
    if message.startswith("Max turns"):
        outcome = Outcome.MAX_TURNS
    elif "tripwire" in message:
        outcome = Outcome.GUARDRAIL
    else:
        outcome = Outcome.ERROR
    return {"error": ErrorClass.OTHER, "outcome": outcome}


def _handoff(data: Any, error: object) -> dict[str, Any]:
    target = clean_name(data.to_agent)
    # A handoff that raised ends without a target; its error is on the agent.
    failed = error is not None or target is None
    return {
        "error": ErrorClass.OTHER if failed else None,
        "from_agent": clean_name(data.from_agent) or UNKNOWN,
        "to_agent": target or UNKNOWN,
    }


def _llm(data: Any, error: object, known: OpenSpan | None) -> dict[str, Any]:
    response = getattr(data, "response", None) or _answer(data)
    config = getattr(data, "model_config", None)
    answered_by = clean_name(fields.field(response, "model"))
    requested = clean_name(known.model if known and known.model else getattr(data, "model", None))
    raw_usage = getattr(data, "usage", None)  # older SDKs leave it on the response only
    if raw_usage is None:
        raw_usage = fields.field(response, "usage")
    called = known.endpoint if known else None
    endpoint = fields.endpoint(called or fields.field(config, "base_url"))
    failure = known.failure if known else None
    if error is not None and failure in (None, ErrorClass.CANCELLED):
        # A call that the SDK's own timeout cancelled says so on the span.
        failure = fields.error_class(error)
    if failure is None and raw_usage is None and response is None and _leaves_usage(data):
        # Without a usage record, where there always is one, the call was cut off.
        failure = ErrorClass.CANCELLED
    first_token_s = None
    if known is not None and known.first_token_mono_ns is not None:
        first_token_s = (known.first_token_mono_ns - known.started_mono_ns) / 1e9
    usage = fields.usage(raw_usage)
    finish_reason, is_empty = ending(data, error, usage)
    return {
        "error": failure,
        "finish_reason": finish_reason,
        "is_empty": is_empty,
        "outcome": Outcome.CANCELLED if failure is ErrorClass.CANCELLED else None,
        "model": requested or answered_by,
        "response_model": answered_by,
        "endpoint": endpoint,
        "service_tier": clean_name(fields.field(response, "service_tier")),
        "usage": usage,
        "first_token_s": first_token_s,
    }


def _answer(data: Any) -> Mapping[str, Any] | None:
    """A chat call's output: the first message or response, as a mapping."""
    output = getattr(data, "output", None)
    if isinstance(output, list) and output and isinstance(output[0], Mapping):
        return output[0]
    return None


def _leaves_usage(data: Any) -> bool:
    """Whether a span is one on which the SDK records usage, if only zeros, of every answer."""
    if data.type == "response":
        return hasattr(data, "usage")
    # Of chat calls, the versions that do so are those whose response spans have the field too.
    response_span = getattr(sys.modules.get("agents.tracing.span_data"), "ResponseSpanData", None)
    config = getattr(data, "model_config", None)
    return hasattr(response_span, "usage") and isinstance(config, Mapping) and "base_url" in config
