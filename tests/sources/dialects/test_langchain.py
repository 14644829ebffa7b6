"""LangChain, LangGraph and LangSmith."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.run import Outcome
from tocsin.model.span import Kind


@pytest.mark.parametrize(
    ("run_type", "operation", "kind"),
    [
        ("llm", "chat", Kind.LLM),
        ("prompt", "chat", Kind.STEP),
        ("retriever", "embeddings", Kind.RETRIEVAL),
        ("tool", "execute_tool", Kind.TOOL),
        ("chain", "chain", Kind.STEP),
    ],
)
def test_langsmiths_run_type_is_truer_than_its_operation(
    run_type: str, operation: str, kind: Kind
) -> None:
    attributes = {"langsmith.span.kind": run_type, "gen_ai.operation.name": operation}
    assert kind == decode_one(attributes=attributes).kind


def test_langsmiths_metadata() -> None:
    span = decode_one(
        "ChatOpenAI",
        {
            "langsmith.span.kind": "llm",
            "gen_ai.system": "langchain",
            "langsmith.metadata.ls_provider": "openai",
            "langsmith.metadata.ls_model_name": "gpt-4o-mini",
            "langsmith.metadata.thread_id": "conv_1",
        },
    )
    assert ("openai", "gpt-4o-mini", "conv_1") == (
        *(span.provider, span.model),
        span.conversation_id,
    )


def test_tasks_are_steps() -> None:
    assert Kind.STEP == decode_one(attributes={"gen_ai.operation.name": "execute_task"}).kind


@pytest.mark.parametrize(
    "message",
    [
        "Recursion limit of 6 reached without hitting a stop condition.",
        "GraphRecursionError('Recursion limit of 6 reached')Traceback:\n\nValueError",
    ],
)
def test_the_recursion_limit_is_a_limit_of_turns(message: str) -> None:
    span = decode_one("graph", {"openinference.span.kind": "AGENT"}, error=message)
    assert Outcome.MAX_TURNS == span.outcome
