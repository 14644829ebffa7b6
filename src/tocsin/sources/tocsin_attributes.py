"""Names of the attributes that a watched program sends and a Tocsin server reads back.

What OpenTelemetry's GenAI conventions name goes by their names; the rest is `tocsin.*`.
"""

from typing import Final

from tocsin.model.span import Kind

__all__ = [
    "ARGUMENTS",
    "BUDGET_WORKER",
    "CALLS",
    "COST",
    "KIND",
    "NAME",
    "NESTED",
    "OPERATIONS",
    "OUTCOME",
    "RETRY",
    "RUN_COUNTS",
    "RUN_ID",
    "RUN_OUTCOME",
    "SCOPE",
    "TAG",
    "TRIGGERED",
]

SCOPE: Final = "tocsin"
"""Instrumentation scope."""

KIND: Final = "tocsin.span.kind"
NAME: Final = "tocsin.span.name"
"""Where no convention names what the span is about."""
NESTED: Final = "tocsin.span.nested"
"""On turns of agents that are used as tools: they are not the run's own."""
OUTCOME: Final = "tocsin.span.outcome"
"""What a failed span says about its run."""
CALLS: Final = "tocsin.llm.calls"
"""LLM calls that a span's usage covers, if not one."""
COST: Final = "tocsin.cost_usd"
"""By the sender's prices."""
ARGUMENTS: Final = "tocsin.tool.arguments_hash"
BUDGET_WORKER: Final = "tocsin.budget.worker"
"""On calls of a process that leases budgets: as whom it reports what they cost."""
TAG: Final = "tocsin.tag."
"""How the attributes begin on such calls that hold tags of their run: those that budgets name."""
RETRY: Final = "tocsin.tool.retry"
TRIGGERED: Final = "tocsin.guardrail.triggered"

RUN_ID: Final = "tocsin.run.id"
"""On every span: the run that it belongs to."""
RUN_OUTCOME: Final = "tocsin.run.outcome"
"""On one span of a run, its report: how it ended, as its caller saw it."""
RUN_COUNTS: Final = {
    f"tocsin.run.{field}": field
    for field in (
        *("llm_calls", "input_tokens", "output_tokens", "usage_missing"),
        *("turns", "tool_calls", "handoffs"),
    )
}
"""On the report: attribute -> field of Run."""

OPERATIONS: Final = {
    Kind.RUN: "invoke_workflow",
    Kind.STEP: "agent_step",
    Kind.AGENT: "invoke_agent",
    Kind.LLM: "chat",
    Kind.EMBEDDING: "embeddings",
    Kind.RETRIEVAL: "retrieval",
    Kind.TOOL: "execute_tool",
    Kind.HANDOFF: "handoff",
    Kind.GUARDRAIL: "apply_guardrail",
}
"""Kind -> `gen_ai.operation.name`."""
