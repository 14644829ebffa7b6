"""A raw span -> Tocsin's span, by the tables of all dialects."""

from typing import Any, Final

from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Span
from tocsin.sources.agents_sdk.fields import arguments_hash
from tocsin.sources.dialects import call, handoff
from tocsin.sources.dialects.failure import find_failure
from tocsin.sources.dialects.naming import name_of
from tocsin.sources.dialects.own import add_own, is_own
from tocsin.sources.dialects.reading import Origin, Reading
from tocsin.sources.dialects.values import plain_model
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["decode_span"]

CALLS: Final = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.RETRIEVAL, Kind.EVALUATOR})
UNPAID: Final = frozenset({Kind.RETRIEVAL, Kind.EVALUATOR})
TOOLS: Final = frozenset({Kind.TOOL, Kind.HANDOFF})
ROLLUPS: Final = frozenset({Kind.RUN, Kind.AGENT, Kind.STEP})
"""What may report the usage of all calls inside of it."""
TRIPPED: Final = "guardrail"
"""Kept on a span that failed because a guardrail tripped: which one."""


def decode_span(raw: RawSpan, fields: dict[str, Any], origin: Origin) -> Span:
    """Read a span by whatever dialect it speaks; kind OTHER where it is no agent's.

    fields: the span's ids and times, checked; the others are added to it.
    """
    reading = Reading(raw, origin)
    kind = reading.kind()
    fields["kind"] = kind
    fields["scope"] = origin.scope
    fields["service"] = origin.service
    fields["environment"] = origin.environment
    if origin.keep_content:
        fields["content"] = reading.content()
    if is_own(reading):
        add_own(reading, fields, kind)
        return Span(**fields)
    fields["name"] = name_of(kind, reading)
    fields["attributes"] = reading.kept()
    if kind in CALLS:
        _add_call(reading, fields, kind)
    elif kind in TOOLS:
        _add_tool(reading, fields, kind)
    else:
        _add_structure(reading, fields, kind)
    if reading.names.attempt:
        fields["is_retry"] = call.is_retry(reading)
    return Span(**fields)


def _add_call(reading: Reading, fields: dict[str, Any], kind: Kind) -> None:
    names = reading.names
    _add_model(reading, fields)
    if kind in UNPAID:
        fields["calls"] = 0
    if names.response_id:
        fields["response_id"] = reading.identifier(names.response_id)
    if names.address:
        fields["endpoint"] = call.endpoint(reading)
    if names.cost_usd:
        fields["reported_cost_usd"] = call.reported_cost(reading)
    if names.first_token_s or names.first_token_ms or reading.seen.first_token_ns is not None:
        fields["first_token_s"] = call.first_token_s(reading, fields["started_ns"])
    if (failure := find_failure(reading)) is not None:
        fields["error"] = error = failure.error
        if error is ErrorClass.CANCELLED:
            fields["outcome"] = Outcome.CANCELLED


def _add_model(reading: Reading, fields: dict[str, Any]) -> None:
    plan = reading.plan
    reading.take(plan.call_steps, fields)
    if plan.counts:
        fields["usage"] = call.usage(reading)
    model = fields.setdefault("model", fields.get("response_model"))
    if model is not None and "/" in model:
        fields["model"], fields["provider"] = plain_model(model, fields.get("provider"))
        if reading.origin.counts_reasoning_twice and fields["model"] != model:
            fields["usage"] = call.reasoning_once(fields.get("usage"))


def _add_tool(reading: Reading, fields: dict[str, Any], kind: Kind) -> None:
    names, name = reading.names, fields["name"]
    reading.take(reading.plan.steps, fields)
    arguments = reading.text(names.arguments)
    fields["arguments"] = arguments_hash(arguments, fields["trace_id"])
    if (failure := find_failure(reading)) is not None:
        fields["error"] = failure.error
    target = handoff.target(name)
    if kind is Kind.HANDOFF or target is not None:
        fields["kind"] = Kind.HANDOFF
        fields["from_agent"] = reading.label(names.from_agent) or fields.get("agent")
        to_agent = reading.label(names.to_agent) or target
        fields["to_agent"] = to_agent or handoff.target_in_arguments(arguments)


def _add_structure(reading: Reading, fields: dict[str, Any], kind: Kind) -> None:
    plan = reading.plan
    fields["calls"] = 0
    if plan.counts and kind in ROLLUPS:
        reading.take(plan.call_steps, fields)
        fields["usage"] = call.usage(reading)
    else:
        reading.take(plan.steps, fields)
    if (failure := find_failure(reading)) is not None:
        fields["error"], fields["outcome"] = failure.error, failure.outcome
        if failure.guardrail is not None:
            fields["attributes"][TRIPPED] = failure.guardrail
    if kind is Kind.GUARDRAIL:
        values = (reading.readers.number[reading.attributes[n]] for n in reading.names.triggered)
        fields["triggered"] = any(value is True or value in ("true", "True") for value in values)
