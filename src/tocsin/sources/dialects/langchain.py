"""LangChain and LangGraph, and LangSmith's own exporter."""

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names

__all__ = ["LANGCHAIN"]

RUN_TYPES = {
    "llm": Kind.LLM,
    "tool": Kind.TOOL,
    "chain": Kind.STEP,
    "prompt": Kind.STEP,
    "parser": Kind.STEP,
    "retriever": Kind.RETRIEVAL,
    "embedding": Kind.EMBEDDING,
}
"""LangSmith names a rendered prompt's operation `chat`, so its run type comes first."""

LANGCHAIN = Dialect(
    kinds=(
        KindRule(rank=0, attribute="langsmith.span.kind", values=RUN_TYPES),
        KindRule(
            rank=2,
            attribute="gen_ai.operation.name",
            values={"execute_task": Kind.STEP, "agent_step": Kind.STEP},
        ),
    ),
    names=Names(
        conversation=("langsmith.metadata.session_id", "langsmith.metadata.thread_id"),
        agent=("langsmith.metadata.lc_agent_name",),
        own_name=("langsmith.trace.name",),
        model=("langsmith.metadata.ls_model_name",),
        provider=("langsmith.metadata.ls_provider",),
    ),
    no_providers=("langchain", "langgraph", "langsmith"),
    endings={Outcome.MAX_TURNS: r"GraphRecursionError|\brecursion limit\b"},
)
