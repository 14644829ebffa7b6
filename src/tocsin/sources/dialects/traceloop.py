"""OpenLLMetry (Traceloop): traceloop.span.kind around GenAI attributes of several ages."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["FAMILY"]

STRUCTURE = {"workflow": Kind.RUN, "task": Kind.STEP}
OTHERS = {
    "agent": Kind.AGENT,
    "tool": Kind.TOOL,
    "handoff": Kind.HANDOFF,
    "guardrail": Kind.GUARDRAIL,
}
REQUEST_TYPES = {
    "chat": Kind.LLM,
    "completion": Kind.LLM,
    "embedding": Kind.EMBEDDING,
    "rerank": Kind.RETRIEVAL,
}


def by_structure(span: RawSpan) -> Kind | None:
    """Workflows and tasks, which also carry operation names that say less."""
    kind = span.attributes.get("traceloop.span.kind")
    return STRUCTURE.get(kind) if isinstance(kind, str) else None


def by_span_kind(span: RawSpan) -> Kind | None:
    """The other kinds of `traceloop.span.kind`."""
    kind = span.attributes.get("traceloop.span.kind")
    return OTHERS.get(kind) if isinstance(kind, str) else None


def by_request_type(span: RawSpan) -> Kind | None:
    """LLM calls of versions that name no operation."""
    kind = span.attributes.get("llm.request.type")
    return REQUEST_TYPES.get(kind) if isinstance(kind, str) else None


FAMILY = Family(
    kinds={10: by_structure, 40: by_span_kind, 50: by_request_type},
    wanted=("traceloop.span.kind", "llm.request.type"),
    sources={
        "workflow": ("traceloop.workflow.name",),
        "conversation": (
            "traceloop.association.properties.session_id",
            "traceloop.association.properties.thread_id",
        ),
        "input": ("llm.usage.prompt_tokens",),
        "output": ("llm.usage.completion_tokens",),
        "reasoning": ("llm.usage.reasoning_tokens",),
        "tool": ("traceloop.entity.name",),
        "arguments": ("traceloop.entity.input",),
    },
    names=(("opentelemetry.instrumentation", r"^(.+)\.(?:tool|agent|workflow|task)$"),),
    first_token_events=("llm.content.completion.chunk",),
    silent=(
        "opentelemetry.instrumentation.openai_agents",
        "opentelemetry.instrumentation.genai.openai_agents",
    ),
)
