"""OpenInference."""

import pytest

from tests.fakes.otlp import MS, decode_one
from tocsin.model.span import ErrorClass, Kind, Usage


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("LLM", Kind.LLM),
        ("CHAIN", Kind.STEP),
        ("AGENT", Kind.AGENT),
        ("TOOL", Kind.TOOL),
        ("RETRIEVER", Kind.RETRIEVAL),
        ("RERANKER", Kind.RETRIEVAL),
        ("EMBEDDING", Kind.EMBEDDING),
        ("GUARDRAIL", Kind.GUARDRAIL),
        ("EVALUATOR", Kind.EVALUATOR),
        ("UNKNOWN", Kind.OTHER),
    ],
)
def test_kinds(value: str, kind: Kind) -> None:
    assert kind == decode_one(attributes={"openinference.span.kind": value}).kind


def test_a_call() -> None:
    span = decode_one(
        "ChatCompletion",
        {
            "openinference.span.kind": "LLM",
            "llm.system": "openai",
            "llm.model_name": "gpt-4o-mini-2024-07-18",
            "llm.token_count.prompt": 120,
            "llm.token_count.completion": 30,
            "llm.token_count.prompt_details.cache_read": 64,
            "llm.token_count.completion_details.reasoning": 10,
            "llm.finish_reason": "stop",
            "session.id": "conv_1",
        },
        events=[("First Token Stream Event", 40 * MS, {})],
    )
    assert ("openai", "gpt-4o-mini-2024-07-18") == (span.provider, span.model)
    assert Usage(120, 30, 64, 0, 10) == span.usage
    assert ("conv_1", "stop", 0.04) == (
        *(span.conversation_id, span.finish_reason),
        span.first_token_s,
    )


def test_requested_and_answering_models_are_told_apart() -> None:
    span = decode_one(
        attributes={
            "openinference.span.kind": "LLM",
            "llm.request.model_name": "claude-sonnet",
            "llm.response.model_name": "claude-sonnet-1",
        }
    )
    assert ("claude-sonnet", "claude-sonnet-1") == (span.model, span.response_model)


def test_a_traceback_in_the_status_is_cut_at_its_first_line() -> None:
    message = "ValueError('db connection refused')Traceback:\n\nError code: 429"
    span = decode_one("t", {"openinference.span.kind": "TOOL", "tool.name": "db"}, error=message)
    assert ("db", ErrorClass.CONNECTION) == (span.name, span.error)


def test_a_tripped_guardrail_is_named_on_the_turn() -> None:
    message = "Guardrail tripwire triggered: {'guardrail': 'block_homework'}"
    span = decode_one("turn", {"openinference.span.kind": "CHAIN"}, error=message)
    assert ("guardrail", "block_homework") == (span.outcome, span.attributes["guardrail"])


def test_an_agent_is_named_by_its_node() -> None:
    span = decode_one(
        "helper.task1._execute_core",
        {"openinference.span.kind": "AGENT", "graph.node.id": "helper"},
    )
    assert "helper" == span.name
