"""Pydantic Logfire's own instrumentation of the OpenAI Agents SDK: templates for span names."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["FAMILY"]

PREFIXES = (
    ("Task: ", Kind.RUN),
    ("Agent run", Kind.AGENT),
    ("Turn ", Kind.STEP),
    ("Responses API", Kind.LLM),
    ("Chat completion", Kind.LLM),
    ("Function: ", Kind.TOOL),
    ("Handoff: ", Kind.HANDOFF),
    ("Guardrail ", Kind.GUARDRAIL),
)


def by_template(span: RawSpan) -> Kind | None:
    """Kind by the beginning of the span's name."""
    if not span.scope.startswith("logfire"):
        return None
    return next((kind for prefix, kind in PREFIXES if span.name.startswith(prefix)), None)


FAMILY = Family(
    kinds={70: by_template},
    wanted=("error",),
    sources={
        "conversation": ("group_id",),
        "agent": ("agent_name", "name"),
        "tool": ("name",),
        "guardrail": ("name",),
        "run": ("name",),
        "arguments": ("input",),
        "from_agent": ("from_agent",),
        "to_agent": ("to_agent",),
        "triggered": ("triggered",),
        "response_id": ("response_id",),
        "usage_json": ("gen_ai.usage.raw", "usage"),
        "error_text": ("error",),
    },
)
