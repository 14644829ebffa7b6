"""OpenInference (Arize Phoenix): llm.*, tool.* and openinference.span.kind."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["FAMILY"]

KINDS = {
    "LLM": Kind.LLM,
    "TOOL": Kind.TOOL,
    "AGENT": Kind.AGENT,
    "CHAIN": Kind.STEP,
    "RETRIEVER": Kind.RETRIEVAL,
    "RERANKER": Kind.RETRIEVAL,
    "EMBEDDING": Kind.EMBEDDING,
    "GUARDRAIL": Kind.GUARDRAIL,
    "EVALUATOR": Kind.EVALUATOR,
}


def by_span_kind(span: RawSpan) -> Kind | None:
    """Kind by `openinference.span.kind`."""
    kind = span.attributes.get("openinference.span.kind")
    return KINDS.get(kind.upper()) if isinstance(kind, str) else None


FAMILY = Family(
    kinds={30: by_span_kind},
    wanted=("openinference.span.kind",),
    sources={
        "conversation": ("session.id",),
        "response_model": ("llm.response.model_name",),
        "request_model": ("llm.request.model_name", "llm.model_name", "embedding.model_name"),
        "provider": ("llm.provider", "llm.system"),
        "input": ("llm.token_count.prompt",),
        "output": ("llm.token_count.completion",),
        "cache_read": ("llm.token_count.prompt_details.cache_read",),
        "cache_write": ("llm.token_count.prompt_details.cache_write",),
        "reasoning": ("llm.token_count.completion_details.reasoning",),
        "agent": ("agent.name", "graph.node.id"),
        "tool": ("tool.name",),
        "arguments": ("tool.parameters",),
        "finish_reason": ("llm.finish_reason",),
        "cost": ("llm.cost.total",),
    },
    first_token_events=("First Token Stream Event",),
)
