"""Build records and SDK-like spans with only what a test cares about."""

from types import SimpleNamespace
from typing import Any

from tests.fakes.clock import NOON_NS, NS
from tocsin.model.run import Run
from tocsin.model.span import Kind, Observation, Span, SpanStart, Usage


def span(
    kind: Kind = Kind.LLM,
    span_id: str = "s",
    parent_id: str | None = None,
    *,
    at_s: float = 0,
    lasts_s: float = 1,
    **fields: Any,
) -> Span:
    """A span that begins at_s after noon."""
    started_ns = NOON_NS + int(at_s * NS)
    found: dict[str, Any] = {
        "trace_id": "t",
        "name": "n",
        "started_ns": started_ns,
        "ended_ns": started_ns + int(lasts_s * NS),
    }
    return Span(kind=kind, span_id=span_id, parent_id=parent_id, **(found | fields))


def start(
    kind: Kind = Kind.RUN,
    span_id: str = "s",
    parent_id: str | None = None,
    *,
    at_s: float = 0,
    **fields: Any,
) -> SpanStart:
    """The start of such a span; the monotonic clock shows 0 at noon."""
    found: dict[str, Any] = {
        "trace_id": "t",
        "name": "n",
        "workflow": "w",
        "started_ns": NOON_NS + int(at_s * NS),
        "started_mono_ns": int(at_s * NS),
    }
    return SpanStart(kind=kind, span_id=span_id, parent_id=parent_id, **(found | fields))


def run(run_id: str = "r", *, lasts_s: float | None = None, **fields: Any) -> Run:
    """A run that begins at noon, ended if lasts_s is given."""
    found: dict[str, Any] = {
        "trace_id": "t",
        "workflow": "w",
        "started_ns": NOON_NS,
        "started_mono_ns": 0,
        "ended_ns": None if lasts_s is None else NOON_NS + int(lasts_s * NS),
    }
    return Run(run_id=run_id, **(found | fields))


def call(model: str | None = "gpt-4o", usage: Usage | None = None, **fields: Any) -> Span:
    """An LLM span."""
    return span(Kind.LLM, model=model, usage=usage, **fields)


def seen(found: Span, **fields: Any) -> Observation:
    """An observation of a span in workflow w."""
    return Observation(span=found, **({"workflow": "w"} | fields))


def sdk_trace(trace_id: Any = "t", name: Any = "Support", group_id: Any = None) -> Any:
    """What the SDK hands to on_trace_start and on_trace_end."""
    return SimpleNamespace(trace_id=trace_id, name=name, group_id=group_id)


SDK_DATA: dict[str, dict[str, Any]] = {
    "task": {"name": "w", "usage": None},
    "turn": {"turn": 1, "agent_name": "a", "usage": None},
    "agent": {"name": "a", "handoffs": [], "tools": [], "output_type": "str"},
    "response": {"response": None, "input": None, "usage": None},
    "generation": {
        "model": "gpt-4o",
        "model_config": {"base_url": "https://api.openai.com/v1/"},
        "input": None,
        "output": None,
        "usage": None,
    },
    "function": {"name": "lookup", "input": "{}", "output": "ok", "mcp_data": None},
    "handoff": {"from_agent": "a", "to_agent": "b"},
    "guardrail": {"name": "g", "triggered": False},
    "custom": {"name": "c", "data": {}},
}
"""Fields that the SDK's span data has, by its type."""


def sdk_span(kind: Any = "custom", span_id: Any = "s", **fields: Any) -> Any:
    """A span as the SDK hands it over; fields of the data and of the span itself can be set."""
    found: dict[str, Any] = {
        "span_id": span_id,
        "trace_id": "t",
        "parent_id": None,
        "started_at": "2026-06-01T12:00:00+00:00",
        "ended_at": "2026-06-01T12:00:02+00:00",
        "error": None,
    }
    own = {name: fields.pop(name) for name in list(fields) if name in found}
    data = SimpleNamespace(type=kind, **(SDK_DATA.get(kind, {}) | fields))
    return SimpleNamespace(**(found | own), span_data=data)
