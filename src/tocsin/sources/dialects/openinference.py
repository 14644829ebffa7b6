"""OpenInference (Arize), all its instrumentors."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names

__all__ = ["OPENINFERENCE"]

KINDS = {
    "llm": Kind.LLM,
    "tool": Kind.TOOL,
    "agent": Kind.AGENT,
    "chain": Kind.STEP,
    "prompt": Kind.STEP,
    "retriever": Kind.RETRIEVAL,
    "reranker": Kind.RETRIEVAL,
    "embedding": Kind.EMBEDDING,
    "guardrail": Kind.GUARDRAIL,
    "evaluator": Kind.EVALUATOR,
}

OPENINFERENCE = Dialect(
    content=("input.value", "output.value", "llm.input_messages.", "llm.output_messages."),
    kinds=(KindRule(rank=3, attribute="openinference.span.kind", values=KINDS),),
    names=Names(
        agent=("agent.name", "graph.node.id"),
        tool=("tool.name",),
        model=("llm.request.model_name", "llm.model_name", "embedding.model_name"),
        response_model=("llm.response.model_name",),
        provider=("llm.provider", "llm.system"),
        finish_reason=("llm.finish_reason",),
        cost_usd=("llm.cost.total",),
        input_tokens=("llm.token_count.prompt",),
        output_tokens=("llm.token_count.completion",),
        cache_read=("llm.token_count.prompt_details.cache_read",),
        cache_write=("llm.token_count.prompt_details.cache_write",),
        reasoning=("llm.token_count.completion_details.reasoning",),
        arguments=("input.value",),
    ),
    first_token_events=("First Token Stream Event",),
)
