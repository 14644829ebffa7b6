"""Spans and runs to store, with as little said as a test needs."""

from decimal import Decimal
from typing import Any, Final

from tocsin.model.run import Outcome, Run
from tocsin.model.span import Cost, Kind, Span, Usage
from tocsin.store.base import StoredRun, StoredSpan

HOUR: Final = 3_600_000_000_000
DAY: Final = 24 * HOUR
START: Final = 20_000 * DAY
"""Midnight (UTC) of some day."""


def make_span(number: int = 0, *, run: int | None = 0, at: int = 0, **fields: Any) -> StoredSpan:
    """A tool call of one second that began `at` nanoseconds after START; its ids are numbers."""
    stored = {
        name: fields.pop(name)
        for name in ("cost", "retry", "provider", "content")
        if name in fields
    }
    workflow = fields.pop("in_workflow", "support")
    defaults: dict[str, Any] = {
        "trace_id": f"trace-{run}",
        "span_id": f"span-{number}",
        "parent_id": None,
        "kind": Kind.TOOL,
        "name": "search",
        "started_ns": START + at,
        "ended_ns": START + at + 1_000_000_000,
    }
    return StoredSpan(
        span=Span(**(defaults | fields)),
        workflow=workflow,
        run_id=None if run is None else f"run-{run}",
        **stored,
    )


def make_call(number: int = 0, **fields: Any) -> StoredSpan:
    """An LLM call of 10 tokens for 3 cents."""
    defaults: dict[str, Any] = {
        "kind": Kind.LLM,
        "model": "gpt",
        "usage": Usage(7, 3),
        "cost": Cost(Decimal("0.01"), Decimal("0.02"), Decimal(0), Decimal(0)),
    }
    return make_span(number, **(defaults | fields))


def make_run(
    number: int = 0, *, at: int = 0, took: int = 2_000_000_000, **fields: Any
) -> StoredRun:
    """A run that ended well after two seconds."""
    where = {name: fields.pop(name) for name in ("service", "environment") if name in fields}
    defaults: dict[str, Any] = {
        "run_id": f"run-{number}",
        "trace_id": f"trace-{number}",
        "workflow": "support",
        "started_ns": START + at,
        "started_mono_ns": 0,
        "ended_ns": START + at + took,
        "outcome": Outcome.OK,
    }
    return StoredRun(run=Run(**(defaults | fields)), **where)
