"""Microsoft Agent Framework, Semantic Kernel and AutoGen."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.span import Kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("workflow.run", Kind.RUN),
        ("executor.process writer", Kind.STEP),
        ("edge_group.process InternalEdgeGroup", Kind.STEP),
        ("workflow.build", Kind.OTHER),
    ],
)
def test_kinds_by_name(name: str, kind: Kind) -> None:
    assert kind == decode_one(name, scope="agent_framework").kind


def test_semantic_kernels_operations() -> None:
    span = decode_one(
        "chat.completions gpt-4o",
        {
            "gen_ai.operation.name": "chat.streaming_completions",
            "gen_ai.system": "openai",
            "gen_ai.response.finish_reason": "FinishReason.TOOL_CALLS",
            "gen_ai.usage.prompt_tokens": 5,
        },
    )
    assert (Kind.LLM, "tool_calls") == (span.kind, span.finish_reason)


def test_the_framework_is_no_provider() -> None:
    span = decode_one(
        "invoke_agent x",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "microsoft.agent_framework",
            "workflow.name": "Support flow",
            "server.address": "http://127.0.0.1:5/v1/",
        },
    )
    assert (None, "Support flow", "http://127.0.0.1:5/v1/") == (
        *(span.provider, span.workflow),
        span.endpoint,
    )
