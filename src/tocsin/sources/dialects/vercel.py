"""The Vercel AI SDK."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names

__all__ = ["VERCEL"]

ENDINGS = (
    (".dogenerate", Kind.LLM),
    (".dostream", Kind.LLM),
    (".doembed", Kind.EMBEDDING),
    (".dorerank", Kind.RETRIEVAL),
)


def operation_kind(operation: str) -> Kind:
    """Kind of an `ai.operationId`: the calls have names of their own, the rest is around them."""
    return next((kind for end, kind in ENDINGS if operation.endswith(end)), Kind.AGENT)


VERCEL = Dialect(
    content=(
        *("ai.prompt", "ai.prompt.messages", "ai.response.text", "ai.response.object"),
        *("ai.response.toolCalls", "ai.toolCall.args", "ai.toolCall.result"),
    ),
    kinds=(
        KindRule(
            rank=6,
            attribute="ai.operationId",
            values={"ai.toolcall": Kind.TOOL},
            otherwise=operation_kind,
        ),
    ),
    names=Names(
        workflow=("ai.telemetry.functionId",),
        conversation=("ai.telemetry.metadata.sessionId",),
        tool=("ai.toolCall.name",),
        model=("ai.model.id",),
        response_model=("ai.response.model",),
        provider=("ai.model.provider",),
        response_id=("ai.response.id",),
        finish_reason=("ai.response.finishReason",),
        input_tokens=("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        output_tokens=("ai.usage.outputTokens", "ai.usage.completionTokens"),
        cache_read=("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
        cache_write=("ai.usage.inputTokenDetails.cacheWriteTokens",),
        reasoning=("ai.usage.reasoningTokens",),
        first_token_ms=("ai.response.msToFirstChunk",),
        arguments=("ai.toolCall.args",),
    ),
)
