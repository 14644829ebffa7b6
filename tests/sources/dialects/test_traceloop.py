"""Traceloop's OpenLLMetry."""

import pytest

from tests.fakes.otlp import MS, decode_one
from tocsin.model.span import Kind, Usage


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"traceloop.span.kind": "workflow", "gen_ai.operation.name": "invoke_agent"}, Kind.RUN),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "invoke_agent"}, Kind.STEP),
        ({"traceloop.span.kind": "agent", "gen_ai.operation.name": "execute_tool"}, Kind.TOOL),
        ({"traceloop.span.kind": "agent"}, Kind.AGENT),
        ({"traceloop.span.kind": "tool"}, Kind.TOOL),
        ({"traceloop.span.kind": "handoff"}, Kind.HANDOFF),
        ({"traceloop.span.kind": "guardrail"}, Kind.GUARDRAIL),
        ({"traceloop.span.kind": "session", "llm.request.type": "chat"}, Kind.LLM),
        ({"llm.request.type": "embedding"}, Kind.EMBEDDING),
    ],
)
def test_kinds_in_the_order_of_the_rules(attributes: dict[str, object], kind: Kind) -> None:
    assert kind == decode_one(attributes=attributes).kind


def test_an_older_call() -> None:
    span = decode_one(
        "openai.chat",
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.prompt_tokens": 120,
            "llm.usage.completion_tokens": 30,
            "gen_ai.usage.cache_read_input_tokens": 64,
            "gen_ai.completion.0.finish_reason": "stop",
            "traceloop.association.properties.thread_id": "conv_1",
            "traceloop.workflow.name": "Support flow",
        },
        events=[("llm.content.completion.chunk", n * MS, {}) for n in range(20, 2000)],
    )
    assert (Usage(120, 30, 64), "openai", "stop") == (
        *(span.usage, span.provider),
        span.finish_reason,
    )
    assert ("Support flow", "conv_1", 0.02) == (
        *(span.workflow, span.conversation_id),
        span.first_token_s,
    )


def test_names_lose_their_endings() -> None:
    agent = decode_one("helper.agent", {"traceloop.span.kind": "agent"})
    tool = decode_one("x.tool", {"traceloop.span.kind": "tool", "traceloop.entity.name": "search"})
    assert ("helper", "search") == (agent.name, tool.name)


def test_a_handoff_names_both_agents() -> None:
    span = decode_one(
        "a → b.handoff",
        {
            "traceloop.span.kind": "handoff",
            "gen_ai.handoff.from_agent": "a",
            "gen_ai.handoff.to_agent": "b",
        },
    )
    assert ("a", "b") == (span.from_agent, span.to_agent)


def test_failure_may_be_told_by_an_attribute() -> None:
    attributes = {"traceloop.span.kind": "task", "gen_ai.task.status": "failure"}
    assert "error" == decode_one(attributes=attributes).outcome
