"""Pydantic AI, in all its versions of instrumentation."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.run import Outcome
from tocsin.model.span import Kind, Usage

SCOPE = "pydantic-ai"


@pytest.mark.parametrize(
    ("name", "attributes", "kind"),
    [
        ("agent run", {"agent_name": "helper"}, Kind.AGENT),
        ("running 2 tools", {}, Kind.STEP),
        ("running tools", {}, Kind.STEP),
        ("running tool", {"gen_ai.tool.name": "search"}, Kind.TOOL),
        ("running tool: search", {}, Kind.TOOL),
        ("invoke_agent x", {"gen_ai.operation.name": "invoke_agent"}, Kind.AGENT),
        ("model request attempt m", {"gen_ai.request.model": "m"}, Kind.OTHER),
    ],
)
def test_kinds(name: str, attributes: dict[str, object], kind: Kind) -> None:
    assert kind == decode_one(name, attributes, scope=SCOPE).kind


def test_an_agents_name_and_usage() -> None:
    attributes = {"agent_name": "helper", "gen_ai.aggregated_usage.input_tokens": 120}
    span = decode_one("agent run", attributes, scope=SCOPE)
    assert ("helper", Usage(120, 0)) == (span.name, span.usage)


def test_a_tool_to_be_called_again_has_failed() -> None:
    attributes = {"gen_ai.tool.name": "flaky", "pydantic_ai.tool.retry.cause": "model_retry"}
    assert decode_one("running tool", attributes, scope=SCOPE).error is not None


@pytest.mark.parametrize(("attempt", "is_retry"), [(0, False), (1, True)])
def test_attempts_after_the_first_are_retries(attempt: int, is_retry: bool) -> None:
    attributes = {"pydantic_ai.model_request.attempt": attempt}
    assert is_retry == decode_one("model request attempt m", attributes, scope=SCOPE).is_retry


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("The next request would exceed the request_limit of 3.", Outcome.MAX_TURNS),
        ("Exceeded the total_tokens_limit of 100", Outcome.ERROR),
    ],
)
def test_limits(message: str, outcome: Outcome) -> None:
    assert outcome == decode_one("agent run", scope=SCOPE, error=message).outcome
