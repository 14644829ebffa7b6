"""Builders for raw OTLP spans."""

from typing import Any

from tocsin.sources.otlp_wire import RawEvent, RawSpan

T0 = 1_790_000_000_000_000_000
"""Some time in 2026, in nanoseconds."""
MS = 1_000_000


def raw(
    name: str = "span",
    *,
    span_id: str = "0000000000000001",
    parent: str | None = None,
    scope: str = "",
    error: str | None = None,
    events: tuple[RawEvent, ...] = (),
    at_ms: int = 0,
    lasts_ms: int = 100,
    **attributes: Any,
) -> RawSpan:
    """A raw span; attributes with "__" for dots; error: the status message of a failed one."""
    return RawSpan(
        trace_id="a" * 32,
        span_id=span_id,
        parent_id=parent,
        name=name,
        started_ns=T0 + at_ms * MS,
        ended_ns=T0 + (at_ms + lasts_ms) * MS,
        is_error=error is not None,
        status_message=error or "",
        scope=scope,
        resource={"service.name": "shop"},
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
        events=list(events),
    )
