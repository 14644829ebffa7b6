"""Frameworks that follow the GenAI conventions in their own way."""

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["FAMILIES", "NOT_PROVIDERS"]

NOT_PROVIDERS = frozenset(
    {
        "strands-agents",
        "langgraph",
        "langchain",
        "crewai",
        "microsoft.agent_framework",
        "llamaindex",
    }
)
"""Values of provider attributes that name the framework, not who serves the model."""


def by_literal_name(span: RawSpan) -> Kind | None:
    """Spans that nothing but their names tell apart."""
    if span.name == "workflow.run":
        return Kind.RUN
    if span.name.startswith("executor.process"):
        return Kind.STEP
    if span.name == "litellm_request":
        return Kind.LLM
    return None


def raw_request(span: RawSpan) -> Kind | None:
    """LiteLLM's child span, which repeats its parent's call."""
    return Kind.OTHER if span.name == "raw_gen_ai_request" else None


LITELLM = Family(kinds={5: raw_request, 80: by_literal_name})

MICROSOFT = Family(sources={"workflow": ("workflow.name",)})

PYDANTIC_AI = Family(
    sources={"retry": ("pydantic_ai.tool.retry.attempt",), "agent": ("agent_name",)},
    outcomes=((r"UsageLimitExceeded", Outcome.MAX_TURNS),),
)

LANGCHAIN = Family(outcomes=((r"GraphRecursionError|recursion limit", Outcome.MAX_TURNS),))

GOOGLE_ADK = Family(
    outcomes=((r"LlmCallsLimitExceeded|max number of llm calls", Outcome.MAX_TURNS),)
)

CREWAI = Family(
    sources={"workflow": ("crewai.crew.name",)},
    names=(("openinference.instrumentation.crewai", r"^(.+?)\.(?:run|kickoff|_execute_core)$"),),
)

FAMILIES = (LITELLM, MICROSOFT, PYDANTIC_AI, LANGCHAIN, GOOGLE_ADK, CREWAI)
