"""Vercel's AI SDK: ai.* attributes and ai.operationId."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["FAMILY"]


def by_operation_id(span: RawSpan) -> Kind | None:
    """Kind by `ai.operationId`: the inner do… spans are the calls, the outer ones agents."""
    operation = span.attributes.get("ai.operationId")
    if not isinstance(operation, str):
        return None
    if operation.endswith((".doGenerate", ".doStream")):
        return Kind.LLM
    if operation.endswith(".doEmbed"):
        return Kind.EMBEDDING
    return Kind.TOOL if operation == "ai.toolCall" else Kind.AGENT


FAMILY = Family(
    kinds={60: by_operation_id},
    wanted=("ai.operationId",),
    sources={
        "workflow": ("ai.telemetry.functionId",),
        "conversation": ("ai.telemetry.metadata.sessionId",),
        "response_model": ("ai.response.model",),
        "request_model": ("ai.model.id",),
        "provider": ("ai.model.provider",),
        "input": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        "output": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
        "cache_read": (
            "ai.usage.cachedInputTokens",
            "ai.usage.inputTokenDetails.cacheReadTokens",
        ),
        "cache_write": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
        "reasoning": (
            "ai.usage.reasoningTokens",
            "ai.usage.outputTokenDetails.reasoningTokens",
        ),
        "first_token_ms": ("ai.response.msToFirstChunk",),
        "agent": ("ai.telemetry.functionId",),
        "tool": ("ai.toolCall.name",),
        "arguments": ("ai.toolCall.args",),
        "response_id": ("ai.response.id",),
        "finish_reason": ("ai.response.finishReason",),
    },
    first_token_events=("ai.stream.firstChunk",),
)
