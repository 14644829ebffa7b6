"""Spans of Tocsin's own exporter, read back field by field."""

from decimal import Decimal
from typing import Any, Final, TypeVar

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Usage
from tocsin.sources import tocsin_attributes as t
from tocsin.sources.any_value import Value
from tocsin.sources.dialects.reading import Reading
from tocsin.sources.dialects.values import amount, count

__all__ = ["add_own", "is_own"]

MAX_SECONDS: Final = 1e9
MAX_COST_USD: Final = 1e9
MAX_TAGS: Final = 16
Choice = TypeVar("Choice", Outcome, ErrorClass)

NAMES: Final = {
    Kind.AGENT: "gen_ai.agent.name",
    Kind.STEP: "gen_ai.agent.name",
    Kind.TOOL: "gen_ai.tool.name",
}


def is_own(reading: Reading) -> bool:
    """Whether a span says its kind as only Tocsin's exporter does."""
    plan = reading.plan
    if not plan.kinds or plan.kinds[0][1] != t.KIND:
        return False
    memo, attribute = plan.kinds[0]
    return memo[reading.attributes[attribute]] is not None


def add_own(reading: Reading, fields: dict[str, Any], kind: Kind) -> None:
    """Add what a span of a watched program says."""
    workflow = _name(reading, "gen_ai.workflow.name")
    named = _name(reading, NAMES.get(kind, t.NAME))
    fields["name"] = named or (workflow if kind is Kind.RUN else None) or UNKNOWN
    if (error := _value(reading, "error.type")) is not None:
        fields["error"] = _choice(ErrorClass, error) or ErrorClass.OTHER
    fields["outcome"] = _choice(Outcome, _value(reading, t.OUTCOME))
    fields["workflow"] = workflow
    fields["conversation_id"] = clean_name(_once(reading, "gen_ai.conversation.id"))
    calls = count(_value(reading, t.CALLS))
    fields["calls"] = 1 if calls is None else calls
    fields["attributes"] = _run(reading)
    match kind:
        case Kind.LLM | Kind.EMBEDDING:
            fields["agent"] = _name(reading, "gen_ai.agent.name")
            _add_call(reading, fields)
        case Kind.TOOL:
            fields["agent"] = _name(reading, "gen_ai.agent.name")
            arguments = _once(reading, t.ARGUMENTS)
            fields["arguments"] = arguments if type(arguments) is int else None
            fields["is_retry"] = _value(reading, t.RETRY) is True
        case Kind.STEP:
            if _value(reading, t.NESTED) is True:
                fields["attributes"][t.NESTED] = "true"
        case Kind.HANDOFF:
            for end in ("from_agent", "to_agent"):
                fields[end] = _name(reading, f"gen_ai.handoff.{end}") or UNKNOWN
        case Kind.GUARDRAIL:
            fields["triggered"] = _value(reading, t.TRIGGERED) is True


def _add_call(reading: Reading, fields: dict[str, Any]) -> None:
    fields["model"] = _name(reading, "gen_ai.request.model")
    fields["response_model"] = _name(reading, "gen_ai.response.model")
    fields["provider"] = _name(reading, "gen_ai.provider.name")
    fields["endpoint"] = _name(reading, "server.address")
    fields["service_tier"] = _name(reading, "openai.response.service_tier")
    fields["usage"] = _usage(reading)
    first_token_s = _once(reading, "gen_ai.response.time_to_first_chunk")
    fields["first_token_s"] = amount(first_token_s, MAX_SECONDS)
    cost_usd = amount(_once(reading, t.COST), MAX_COST_USD)
    fields["reported_cost_usd"] = None if cost_usd is None else Decimal(str(cost_usd))
    if (worker := clean_name(_once(reading, t.BUDGET_WORKER))) is not None:
        fields["attributes"][t.BUDGET_WORKER] = worker
        fields["attributes"] |= _tags(reading)


def _usage(reading: Reading) -> Usage | None:
    read = count(_value(reading, "gen_ai.usage.input_tokens"))
    written = count(_value(reading, "gen_ai.usage.output_tokens"))
    if read is None or written is None:
        return None
    return Usage(
        read,
        written,
        count(_value(reading, "gen_ai.usage.cache_read.input_tokens")) or 0,
        count(_value(reading, "gen_ai.usage.cache_write.input_tokens")) or 0,
        count(_value(reading, "gen_ai.usage.reasoning.output_tokens")) or 0,
    )


def _tags(reading: Reading) -> dict[str, str]:
    """Tags of the run, by attribute."""
    names = [name for name in reading.attributes if name.startswith(t.TAG)][:MAX_TAGS]
    found = {clean_name(name): clean_name(_once(reading, name)) for name in names}
    return {name: tag for name, tag in found.items() if name is not None and tag is not None}


def _run(reading: Reading) -> dict[str, str]:
    """What a span says about its run, as it is kept with the span."""
    run_id = clean_name(_once(reading, t.RUN_ID))
    if run_id is None:
        return {}
    found = {t.RUN_ID: run_id}
    outcome = _choice(Outcome, _value(reading, t.RUN_OUTCOME))
    if outcome is not None:
        found[t.RUN_OUTCOME] = outcome.value
        found |= {name: str(count(_value(reading, name)) or 0) for name in t.RUN_COUNTS}
    return found


def _name(reading: Reading, attribute: str) -> str | None:
    raw = reading.attributes.get(attribute)
    return None if raw is None else reading.readers.name[raw]


def _value(reading: Reading, attribute: str) -> Value:
    """A value out of few, remembered."""
    raw = reading.attributes.get(attribute)
    return None if raw is None else reading.readers.number[raw]


def _once(reading: Reading, attribute: str) -> Value:
    """A value that hardly comes again."""
    raw = reading.attributes.get(attribute)
    return None if raw is None else reading.readers.read(raw)


def _choice(choices: type[Choice], value: Value) -> Choice | None:
    if not isinstance(value, str):
        return None
    try:
        return choices(value)
    except ValueError:
        return None
