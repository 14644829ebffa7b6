"""Google ADK, CrewAI, smolagents, Haystack, and the Anthropic SDK's own spans."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.run import Outcome
from tocsin.model.span import Kind, Usage


@pytest.mark.parametrize(
    "message",
    ["Max number of llm calls limit of `3` exceeded", "AgentMaxStepsError: Reached max steps."],
)
def test_limits(message: str) -> None:
    span = decode_one(attributes={"gen_ai.operation.name": "invoke_agent"}, error=message)
    assert Outcome.MAX_TURNS == span.outcome


@pytest.mark.parametrize(
    ("name", "kind", "named"),
    [
        ("invocation", Kind.STEP, "invocation"),
        ("agent_run [support]", Kind.AGENT, "support"),
        ("call_llm", Kind.LLM, "call_llm"),
        ("tool_call [get_weather]", Kind.TOOL, "get_weather"),
        ("tool_response [get_weather]", Kind.OTHER, "tool_response [get_weather]"),
        ("tool_call [transfer_to_agent]", Kind.HANDOFF, "transfer_to_agent"),
    ],
)
def test_google_adk_named_no_operations_at_first(name: str, kind: Kind, named: str) -> None:
    span = decode_one(name, {"gen_ai.system": "gcp.vertex.agent"}, scope="gcp.vertex.agent")
    assert (kind, named) == (span.kind, span.name)


@pytest.mark.parametrize(
    ("model", "output_tokens"), [("openai/gpt-4o-mini", 30), ("gemini-2.5-flash", 40)]
)
def test_google_adk_adds_reasoning_which_litellm_has_added(model: str, output_tokens: int) -> None:
    span = decode_one(
        attributes={
            "gen_ai.operation.name": "generate_content",
            "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": 120,
            "gen_ai.usage.output_tokens": 40,
            "gen_ai.usage.reasoning.output_tokens": 10,
        },
        scope="gcp.vertex.agent",
    )
    assert Usage(120, output_tokens, reasoning_tokens=10) == span.usage


def test_crewai_tells_a_crews_tokens_in_one_text() -> None:
    text = (
        "total_tokens=150 prompt_tokens=120 cached_prompt_tokens=64 completion_tokens=30 "
        "reasoning_tokens=10 cache_creation_tokens=0 successful_requests=1"
    )
    attributes = {"gen_ai.operation.name": "invoke_agent", "crewai.crew.token_usage": text}
    span = decode_one("crewai.workflow", attributes)
    assert Usage(120, 30, 64, 0, 10) == span.usage


@pytest.mark.parametrize(
    "scope",
    [
        "opentelemetry.instrumentation.crewai",
        "opentelemetry.instrumentation.crewai.instrumentation",
    ],
)
def test_crewai_names_its_tasks_with_users_text(scope: str) -> None:
    task = decode_one("Answer Jane Doe.task", {"traceloop.span.kind": "task"}, scope=scope)
    agent = decode_one(
        "x.agent", {"traceloop.span.kind": "agent", "crewai.agent.role": "writer"}, scope=scope
    )
    crew = decode_one(
        "crewai.workflow",
        {"traceloop.span.kind": "workflow", "crewai.crew.name": "support"},
        scope=scope,
    )
    assert ("unknown", "writer", "support") == (task.name, agent.name, crew.name)


@pytest.mark.parametrize(
    ("component", "kind"),
    [
        ("OpenAIChatGenerator", Kind.LLM),
        ("OpenAITextEmbedder", Kind.EMBEDDING),
        ("InMemoryBM25Retriever", Kind.RETRIEVAL),
        ("ToolInvoker", Kind.STEP),
    ],
)
def test_haystacks_components(component: str, kind: Kind) -> None:
    attributes = {"haystack.component.type": component}
    assert kind == decode_one("haystack.component.run", attributes).kind
    assert Kind.RUN == decode_one("haystack.pipeline.run").kind


def test_the_anthropic_sdks_own_span() -> None:
    span = decode_one(
        "anthropic.messages.create",
        {
            "gen_ai.operation.name": "chat",
            "anthropic.message.stop_reason": "end_turn",
            "anthropic.response.service_tier": "standard",
        },
        scope="com.anthropic.sdk.python",
    )
    assert ("end_turn", "standard") == (span.finish_reason, span.service_tier)
