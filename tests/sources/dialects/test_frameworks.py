"""Google ADK, CrewAI, smolagents, Haystack, and the Anthropic SDK's own spans."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.run import Outcome
from tocsin.model.span import Kind


@pytest.mark.parametrize(
    "message",
    ["Max number of llm calls limit of `3` exceeded", "AgentMaxStepsError: Reached max steps."],
)
def test_limits(message: str) -> None:
    span = decode_one(attributes={"gen_ai.operation.name": "invoke_agent"}, error=message)
    assert Outcome.MAX_TURNS == span.outcome


def test_crewai_names_its_tasks_with_users_text() -> None:
    scope = "opentelemetry.instrumentation.crewai"
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
