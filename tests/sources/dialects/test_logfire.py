"""Pydantic Logfire's own instrumentations."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Usage

SCOPE = "logfire.openai_agents"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("OpenAI Agents trace: {name}", Kind.STEP),
        ("Task: Support flow", Kind.RUN),
        ("Agent run: {name!r}", Kind.AGENT),
        ("Turn {turn} for agent triage", Kind.STEP),
        ("Responses API with {gen_ai.request.model!r}", Kind.LLM),
        ("Chat completion with {gen_ai.request.model!r}", Kind.LLM),
        ("Chat Completion with {request_data[model]!r}", Kind.LLM),
        ("Function: {name}", Kind.TOOL),
        ("Handoff: {from_agent} → {to_agent}", Kind.HANDOFF),
        ("Guardrail {name!r} {triggered=}", Kind.GUARDRAIL),
        ("anything else", Kind.OTHER),
    ],
)
def test_kinds_by_name(name: str, kind: Kind) -> None:
    assert kind == decode_one(name, scope=SCOPE).kind
    assert Kind.OTHER == decode_one(name, scope="my.program").kind


def test_names_are_not_templates() -> None:
    tool = decode_one("Function: {name}", {"name": "search", "input": "{}"}, scope=SCOPE)
    guardrail = decode_one(
        "Guardrail {name!r} {triggered=}", {"name": "block", "triggered": True}, scope=SCOPE
    )
    assert ("search", "block", True) == (tool.name, guardrail.name, guardrail.triggered)
    assert tool.arguments is not None


def test_details_of_tokens_are_in_json() -> None:
    usage = (
        '{"input_tokens":120,"input_tokens_details":{"cached_tokens":64,"cache_write_tokens":0},'
        '"output_tokens_details":{"reasoning_tokens":10}}'
    )
    tokens = {"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30}
    for record, expected in ((usage, Usage(120, 30, 64, 0, 10)), ("{", Usage(120, 30))):
        span = decode_one("Responses API with x", {**tokens, "usage": record}, scope=SCOPE)
        assert expected == span.usage

    cached = {**tokens, "gen_ai.usage.cache_read.input_tokens": 64, "usage": usage}
    span = decode_one("Responses API with x", cached, scope=SCOPE)
    assert Usage(120, 30, 64, 0, 10) == span.usage


def test_an_error_is_in_json() -> None:
    error = '{"message":"Guardrail tripwire triggered","data":{"guardrail":"block"}}'
    span = decode_one("Turn 1 for agent x", {"error": error}, scope=SCOPE, error="")
    assert (Outcome.GUARDRAIL, "block") == (span.outcome, span.attributes["guardrail"])
    error = '{"message":"Error getting response","data":{"error":"Error code: 429 - slow down"}}'
    span = decode_one("Responses API with x", {"error": error}, scope=SCOPE, error="")
    assert ErrorClass.RATE_LIMIT == span.error


def test_json_null_is_no_response_id() -> None:
    span = decode_one("Responses API with x", {"response_id": "null"}, scope=SCOPE)
    assert None is span.response_id


def test_a_handoff_names_both_agents() -> None:
    span = decode_one("Handoff: a", {"from_agent": "a", "to_agent": "b"}, scope=SCOPE)
    assert ("a", "b") == (span.from_agent, span.to_agent)
