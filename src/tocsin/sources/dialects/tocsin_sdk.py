"""Tocsin's own exporter (`sources/otlp_encode.py`), read back field by field.

Nothing is guessed here: the sender has classified errors, placed spans in runs and seen how each
run ended. So this reader goes before all tables, wherever a span says its `tocsin.span.kind`.
"""

from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Span, Usage
from tocsin.sources import tocsin_attributes as t
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import Attributes, RawSpan

__all__ = ["FAMILY", "kind_of", "read_own"]

MAX_COUNT: Final = 1 << 40
Choice = TypeVar("Choice", Kind, Outcome, ErrorClass)

NAMES: Final = {
    Kind.AGENT: "gen_ai.agent.name",
    Kind.STEP: "gen_ai.agent.name",
    Kind.TOOL: "gen_ai.tool.name",
}


def kind_of(raw: RawSpan) -> Kind | None:
    """Kind by `tocsin.span.kind`; None where the span is not of our own making."""
    return _choice(Kind, raw.attributes.get(t.KIND))


def read_own(raw: RawSpan, kind: Kind) -> Span:
    """Read a span that a watched program sent."""
    attributes = raw.attributes
    workflow = clean_name(attributes.get("gen_ai.workflow.name"))
    named = attributes.get(NAMES.get(kind, t.NAME))
    return Span(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_id=raw.parent_id,
        kind=kind,
        name=clean_name(named) or (workflow if kind is Kind.RUN else None) or UNKNOWN,
        started_ns=raw.started_ns,
        ended_ns=max(raw.ended_ns, raw.started_ns),
        error=_choice(ErrorClass, attributes.get("error.type"))
        or (ErrorClass.OTHER if "error.type" in attributes else None),
        outcome=_choice(Outcome, attributes.get(t.OUTCOME)),
        workflow=workflow,
        conversation_id=clean_name(attributes.get("gen_ai.conversation.id")),
        service=clean_name(raw.resource.get("service.name")),
        environment=clean_name(
            raw.resource.get("deployment.environment.name")
            or raw.resource.get("deployment.environment")
        ),
        scope=raw.scope,
        calls=1 if (calls := _count(attributes.get(t.CALLS))) is None else calls,
        attributes=_run(attributes),
        **_details(kind, attributes),
    )


def _details(kind: Kind, attributes: Attributes) -> dict[str, Any]:
    match kind:
        case Kind.LLM | Kind.EMBEDDING:
            return _call(attributes)
        case Kind.TOOL:
            arguments = attributes.get(t.ARGUMENTS)
            return {
                "arguments": arguments if type(arguments) is int else None,
                "is_retry": attributes.get(t.RETRY) is True,
            }
        case Kind.HANDOFF:
            return {
                "from_agent": clean_name(attributes.get("gen_ai.handoff.from_agent")) or UNKNOWN,
                "to_agent": clean_name(attributes.get("gen_ai.handoff.to_agent")) or UNKNOWN,
            }
        case Kind.GUARDRAIL:
            return {"triggered": attributes.get(t.TRIGGERED) is True}
        case _:
            return {}


def _call(attributes: Attributes) -> dict[str, Any]:
    first_token_s = attributes.get("gen_ai.response.time_to_first_chunk")
    is_time = type(first_token_s) in (int, float) and 0 <= first_token_s < float("inf")  # type: ignore[operator]
    return {
        "model": clean_name(attributes.get("gen_ai.request.model")),
        "response_model": clean_name(attributes.get("gen_ai.response.model")),
        "provider": clean_name(attributes.get("gen_ai.provider.name")),
        "endpoint": clean_name(attributes.get("server.address")),
        "service_tier": clean_name(attributes.get("openai.response.service_tier")),
        "usage": _usage(attributes),
        "first_token_s": first_token_s if is_time else None,
        "reported_cost_usd": _cost(attributes.get(t.COST)),
    }


def _usage(attributes: Attributes) -> Usage | None:
    read = _count(attributes.get("gen_ai.usage.input_tokens"))
    written = _count(attributes.get("gen_ai.usage.output_tokens"))
    if read is None or written is None:
        return None
    return Usage(
        read,
        written,
        _count(attributes.get("gen_ai.usage.cache_read.input_tokens")) or 0,
        _count(attributes.get("gen_ai.usage.cache_write.input_tokens")) or 0,
        _count(attributes.get("gen_ai.usage.reasoning.output_tokens")) or 0,
    )


def _cost(value: object) -> Decimal | None:
    try:
        return Decimal(str(value)) if type(value) in (int, float) else None
    except InvalidOperation:
        return None


def _run(attributes: Attributes) -> dict[str, str]:
    """What a span says about its run, as it is kept with the span."""
    run_id = clean_name(attributes.get(t.RUN_ID))
    if run_id is None:
        return {}
    found = {t.RUN_ID: run_id}
    outcome = _choice(Outcome, attributes.get(t.RUN_OUTCOME))
    if outcome is not None:
        found[t.RUN_OUTCOME] = outcome.value
        counts = {name: _count(attributes.get(name)) or 0 for name in t.RUN_COUNTS}
        found |= {name: str(count) for name, count in counts.items()}
    return found


def _choice(choices: type[Choice], value: object) -> Choice | None:
    if not isinstance(value, str):
        return None
    try:
        return choices(value)
    except ValueError:
        return None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < MAX_COUNT else None


FAMILY: Final = Family(
    kinds={0: kind_of},
    wanted=(
        *(t.KIND, t.NAME, t.OUTCOME, t.CALLS, t.COST, t.ARGUMENTS, t.RETRY, t.TRIGGERED),
        *(t.RUN_ID, t.RUN_OUTCOME, *t.RUN_COUNTS),
    ),
)
