"""Families that need a line or two: Google ADK, CrewAI, smolagents, Haystack, Anthropic's SDK."""

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names, name_starts

__all__ = ["ANTHROPIC", "CREWAI", "GOOGLE_ADK", "HAYSTACK", "SMOLAGENTS"]

GOOGLE_ADK = Dialect(
    content=(
        *("gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response"),
        *("gcp.vertex.agent.tool_call_args", "gcp.vertex.agent.tool_response"),
    ),
    name_rules=(
        # before 1.6, which names no operations
        name_starts(
            "gcp.vertex.agent",
            {
                "invocation": Kind.STEP,
                "agent_run": Kind.AGENT,
                "call_llm": Kind.LLM,
                "tool_call": Kind.TOOL,
            },
        ),
    ),
    names=Names(conversation=("gcp.vertex.agent.session_id",)),
    twice_reasoning_scopes=("gcp.vertex.agent",),
    endings={Outcome.MAX_TURNS: r"LlmCallsLimitExceeded|Max number of llm calls limit"},
    no_providers=("gcp.vertex.agent",),
)

CREWAI = Dialect(
    names=Names(
        workflow=("crewai.crew.name",),
        agent=("crewai.agent.role",),
        usage_text=("crewai.crew.token_usage",),
    ),
    private_scopes=("opentelemetry.instrumentation.crewai",),
    no_providers=("crewai",),
)

SMOLAGENTS = Dialect(
    endings={Outcome.MAX_TURNS: r"AgentMaxStepsError|Reached max steps"},
    no_providers=("smolagents",),
)

COMPONENTS = (
    ("generator", Kind.LLM),
    ("embedder", Kind.EMBEDDING),
    ("retriever", Kind.RETRIEVAL),
    ("ranker", Kind.RETRIEVAL),
)
"""By a part of the component's class name, in lower case."""

HAYSTACK = Dialect(
    name_rules=(
        name_starts("", {"haystack.pipeline.run": Kind.RUN, "haystack.agent.run": Kind.AGENT}),
    ),
    kinds=(
        KindRule(
            rank=8,
            attribute="haystack.component.type",
            values={},
            otherwise=lambda component: next(
                (kind for part, kind in COMPONENTS if part in component), Kind.STEP
            ),
        ),
    ),
    names=Names(own_name=("haystack.component.name",)),
    no_providers=("haystack",),
)
ANTHROPIC = Dialect(
    names=Names(
        service_tier=("anthropic.response.service_tier",),
        finish_reason=("anthropic.message.stop_reason",),
    ),
)
