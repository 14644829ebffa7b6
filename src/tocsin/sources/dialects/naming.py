"""Names of agents, tools, workflows and guardrails."""

import re
from typing import Final

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.span import Kind
from tocsin.sources.dialects.plan import Memo
from tocsin.sources.dialects.reading import Reading

__all__ = ["name_of"]

FIELDS: Final = {
    Kind.TOOL: "tool",
    Kind.HANDOFF: "tool",
    Kind.AGENT: "agent",
    Kind.RUN: "workflow",
    Kind.GUARDRAIL: "guardrail",
}
AFFIXES: Final = re.compile(
    r"^(?:invoke_agent|invoke_workflow|execute_tool|create_agent|agent run|running tool|Tool)"
    r"\b:?\s*|\.(?:agent|tool|workflow|task|handoff|run|kickoff)$"
)
BRACKETED: Final = re.compile(r"(?:agent_run|tool_call) \[(.+)\]")


def name_of(kind: Kind, reading: Reading) -> str:
    """Name of what a span is about; the span's own name, without its trimmings, as the last way."""
    found = None
    if (field := FIELDS.get(kind)) is not None:
        found = reading.label(getattr(reading.names, field))
    if found is None and reading.names.own_name:
        found = reading.label(reading.names.own_name)
    return found or bare[reading.name]


def _bare(span_name: str) -> str:
    if (bracketed := BRACKETED.fullmatch(span_name)) is not None:
        span_name = bracketed[1]
    return clean_name(AFFIXES.sub("", span_name)) or clean_name(span_name) or UNKNOWN


bare: Final[Memo[str, str]] = Memo(_bare)
