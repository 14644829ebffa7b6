"""The Vercel AI SDK."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.span import ErrorClass, Kind, Usage


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("ai.generateText", Kind.AGENT),
        ("ai.generateText.doGenerate", Kind.LLM),
        ("ai.streamObject.doStream", Kind.LLM),
        ("ai.embed", Kind.AGENT),
        ("ai.embedMany.doEmbed", Kind.EMBEDDING),
        ("ai.toolCall", Kind.TOOL),
    ],
)
def test_kinds(operation: str, kind: Kind) -> None:
    assert kind == decode_one(operation, {"ai.operationId": operation}).kind


def test_a_streamed_call() -> None:
    span = decode_one(
        "ai.streamText.doStream",
        {
            "ai.operationId": "ai.streamText.doStream",
            "ai.telemetry.functionId": "support_flow",
            "ai.telemetry.metadata.sessionId": "conv_1",
            "ai.model.provider": "openai.chat",
            "ai.model.id": "gpt-4o-mini",
            "ai.response.model": "gpt-4o-mini-2024-07-18",
            "ai.response.id": "chatcmpl-1",
            "ai.response.finishReason": "tool-calls",
            "ai.response.msToFirstChunk": 125.5,
            "ai.usage.inputTokens": 120,
            "ai.usage.outputTokens": 30,
            "ai.usage.cachedInputTokens": 64,
            "ai.usage.reasoningTokens": 10,
        },
    )
    assert ("openai", "gpt-4o-mini", "chatcmpl-1") == (
        *(span.provider, span.model),
        span.response_id,
    )
    assert (Usage(120, 30, 64, 0, 10), 0.1255) == (span.usage, span.first_token_s)
    assert ("support_flow", "conv_1", "tool-calls") == (
        *(span.workflow, span.conversation_id),
        span.finish_reason,
    )


def test_embeddings_have_tokens_of_their_own() -> None:
    span = decode_one(attributes={"ai.operationId": "ai.embed.doEmbed", "ai.usage.tokens": 9})
    assert Usage(9, 0) == span.usage


def test_a_tool() -> None:
    span = decode_one(
        "ai.toolCall",
        {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "db", "ai.toolCall.args": "{}"},
        events=[("exception", 1, {"exception.type": "Error", "exception.message": "timed out"})],
        error="timed out",
    )
    assert ("db", ErrorClass.TIMEOUT) == (span.name, span.error)
    assert span.arguments is not None
