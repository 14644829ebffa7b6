"""Which kind a span is: the first rule that knows it decides."""

from typing import Any

import pytest

from tests.fakes.raw import raw
from tocsin.model.span import Kind
from tocsin.sources.dialects.read import read_span

TABLE: list[tuple[Kind, str, dict[str, Any]]] = [
    (Kind.RUN, "x", {"traceloop__span__kind": "workflow"}),
    (Kind.STEP, "x", {"traceloop__span__kind": "task"}),
    (Kind.AGENT, "x", {"traceloop__span__kind": "agent"}),
    (Kind.TOOL, "x", {"traceloop__span__kind": "tool"}),
    *[
        (kind, "x", {"gen_ai__operation__name": operation})
        for operation, kind in {
            "chat": Kind.LLM,
            "text_completion": Kind.LLM,
            "generate_content": Kind.LLM,
            "completion": Kind.LLM,
            "acompletion": Kind.LLM,
            "responses": Kind.LLM,
            "messages": Kind.LLM,
            "embeddings": Kind.EMBEDDING,
            "retrieval": Kind.RETRIEVAL,
            "search_memory": Kind.RETRIEVAL,
            "execute_tool": Kind.TOOL,
            "invoke_agent": Kind.AGENT,
            "invoke_workflow": Kind.RUN,
            "handle_conversation_turn": Kind.RUN,
            "invoke_swarm": Kind.RUN,
            "invoke_graph": Kind.RUN,
            "execute_task": Kind.STEP,
            "execute_event_loop_cycle": Kind.STEP,
            "agent_step": Kind.STEP,
            "plan": Kind.STEP,
            "apply_guardrail": Kind.GUARDRAIL,
        }.items()
    ],
    *[
        (kind, "x", {"openinference__span__kind": name})
        for name, kind in {
            "LLM": Kind.LLM,
            "TOOL": Kind.TOOL,
            "AGENT": Kind.AGENT,
            "CHAIN": Kind.STEP,
            "RETRIEVER": Kind.RETRIEVAL,
            "RERANKER": Kind.RETRIEVAL,
            "EMBEDDING": Kind.EMBEDDING,
            "GUARDRAIL": Kind.GUARDRAIL,
            "EVALUATOR": Kind.EVALUATOR,
        }.items()
    ],
    (Kind.LLM, "x", {"llm__request__type": "chat"}),
    (Kind.LLM, "x", {"ai__operationId": "ai.generateText.doGenerate"}),
    (Kind.LLM, "x", {"ai__operationId": "ai.streamText.doStream"}),
    (Kind.EMBEDDING, "x", {"ai__operationId": "ai.embed.doEmbed"}),
    (Kind.TOOL, "x", {"ai__operationId": "ai.toolCall"}),
    (Kind.AGENT, "x", {"ai__operationId": "ai.generateText"}),
    (Kind.RUN, "workflow.run", {}),
    (Kind.STEP, "executor.process 1", {}),
    (Kind.LLM, "litellm_request", {}),
    (Kind.OTHER, "raw_gen_ai_request", {"gen_ai__operation__name": "chat"}),
    (Kind.OTHER, "GET /health", {}),
    # Several families on one span.
    (Kind.RUN, "x", {"traceloop__span__kind": "workflow", "gen_ai__operation__name": "chat"}),
    (Kind.LLM, "x", {"gen_ai__operation__name": "chat", "openinference__span__kind": "CHAIN"}),
    (Kind.LLM, "x", {"openinference__span__kind": "LLM", "traceloop__span__kind": "tool"}),
    # Hand-offs that look like tools.
    (Kind.HANDOFF, "transfer_to_billing", {"openinference__span__kind": "TOOL"}),
    (Kind.HANDOFF, "handoff to billing", {"openinference__span__kind": "TOOL"}),
    (
        Kind.HANDOFF,
        "execute_tool transfer_to_agent",
        {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "transfer_to_agent"},
    ),
    # Values that are no names of anything.
    (Kind.OTHER, "x", {"gen_ai__operation__name": 7}),
    (Kind.OTHER, "x", {"openinference__span__kind": ("LLM",)}),
]


@pytest.mark.parametrize(("kind", "name", "attributes"), TABLE)
def test_kind(kind: Kind, name: str, attributes: dict[str, Any]) -> None:
    assert kind == read_span(raw(name, **attributes)).kind


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.RUN, "Task: flow"),
        (Kind.AGENT, "Agent run: {name!r}"),
        (Kind.STEP, "Turn {turn}"),
        (Kind.LLM, "Responses API with {model}"),
        (Kind.LLM, "Chat completion with {model}"),
        (Kind.TOOL, "Function: {name}"),
        (Kind.HANDOFF, "Handoff: {from} -> {to}"),
        (Kind.GUARDRAIL, "Guardrail {name!r}"),
    ],
)
def test_logfire_names_are_templates(kind: Kind, name: str) -> None:
    assert kind == read_span(raw(name, scope="logfire.openai_agents", name_=1)).kind
    assert Kind.OTHER == read_span(raw(name, scope="somebody else")).kind
