"""Traceloop's OpenLLMetry."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names

__all__ = ["TRACELOOP"]

ASSOCIATED = "traceloop.association.properties."

TRACELOOP = Dialect(
    content=(
        *("traceloop.entity.input", "traceloop.entity.output"),
        *("gen_ai.prompt.", "gen_ai.completion."),
    ),
    kinds=(
        KindRule(
            rank=1,
            attribute="traceloop.span.kind",
            values={"workflow": Kind.RUN, "task": Kind.STEP},
        ),
        KindRule(
            rank=4,
            attribute="traceloop.span.kind",
            values={
                "agent": Kind.AGENT,
                "tool": Kind.TOOL,
                "handoff": Kind.HANDOFF,
                "guardrail": Kind.GUARDRAIL,
            },
        ),
        KindRule(
            rank=5,
            attribute="llm.request.type",
            values={
                **dict.fromkeys(("chat", "completion", "responses"), Kind.LLM),
                "embedding": Kind.EMBEDDING,
                "embeddings": Kind.EMBEDDING,
                "rerank": Kind.RETRIEVAL,
            },
        ),
    ),
    names=Names(
        workflow=("traceloop.workflow.name",),
        conversation=(f"{ASSOCIATED}session_id", f"{ASSOCIATED}thread_id"),
        tool=("traceloop.entity.name",),
        model=("llm.request.model",),
        response_model=("llm.response.model",),
        finish_reason=("llm.response.finish_reason", "llm.response.stop_reason"),
        input_tokens=("llm.usage.prompt_tokens", "llm.usage.input_tokens"),
        output_tokens=("llm.usage.completion_tokens", "llm.usage.output_tokens"),
        cache_read=("llm.usage.cache_read_input_tokens",),
        cache_write=("llm.usage.cache_creation_input_tokens",),
        reasoning=("llm.usage.reasoning_tokens",),
        status=("gen_ai.task.status",),
        from_agent=("gen_ai.handoff.from_agent",),
        to_agent=("gen_ai.handoff.to_agent",),
    ),
    first_token_events=(".content.completion.chunk",),
    kept=(f"{ASSOCIATED}langgraph_node",),
)
