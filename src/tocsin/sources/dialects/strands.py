"""Strands Agents."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names, name_starts

__all__ = ["STRANDS"]

STRANDS = Dialect(
    kinds=(
        KindRule(
            rank=2,
            attribute="gen_ai.operation.name",
            values={
                "execute_event_loop_cycle": Kind.STEP,
                "invoke_swarm": Kind.RUN,
                "invoke_graph": Kind.RUN,
            },
        ),
    ),
    name_rules=(
        name_starts(
            "strands",
            {
                "model invoke": Kind.LLM,
                "tool: ": Kind.TOOL,
                "cycle ": Kind.STEP,
                "execute_event_loop_cycle": Kind.STEP,
            },
        ),
    ),
    names=Names(
        status=("gen_ai.tool.status", "tool.status"),
    ),
    millisecond_scopes=("strands",),
    no_providers=("strands-agents",),
)
