"""Pydantic Logfire's own instrumentations, whose span names are templates."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, Names, name_starts

__all__ = ["LOGFIRE"]

SPAN_NAMES = {
    "Task: ": Kind.RUN,
    "OpenAI Agents trace": Kind.STEP,
    "Agent run": Kind.AGENT,
    "Turn ": Kind.STEP,
    "Responses API": Kind.LLM,
    "Chat completion": Kind.LLM,
    "Completion with": Kind.LLM,
    "Message with": Kind.LLM,
    "Embedding creation": Kind.EMBEDDING,
    "Function: ": Kind.TOOL,
    "Handoff: ": Kind.HANDOFF,
    "Guardrail ": Kind.GUARDRAIL,
}

LOGFIRE = Dialect(
    content=("input", "response", "request_data", "response_data", "events"),
    name_rules=(name_starts("logfire", SPAN_NAMES),),
    only_in="logfire",
    names=Names(
        own_name=("name",),
        conversation=("group_id",),
        agent=("agent_name",),
        response_id=("response_id",),
        usage_json=("usage",),
        error_text=("error",),
        arguments=("input",),
        from_agent=("from_agent",),
        to_agent=("to_agent",),
        triggered=("triggered",),
    ),
)
