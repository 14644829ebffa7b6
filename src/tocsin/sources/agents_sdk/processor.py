"""The SDK's trace processor: it only hands events over, whatever they hold."""

from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic_ns
from typing import Any

from agents.tracing import TracingProcessor
from agents.tracing.spans import Span
from agents.tracing.traces import Trace

from tocsin.sources.agents_sdk.events import (
    SPAN_END,
    SPAN_START,
    TRACE_END,
    TRACE_START,
    Emit,
    Ticket,
)

__all__ = ["CURRENT_TICKET", "EventProcessor"]

CURRENT_TICKET: ContextVar[Ticket | None] = ContextVar("tocsin_ticket", default=None)
"""The run that the current task belongs to, where the runner is watched."""


class EventProcessor(TracingProcessor):
    """Hands every callback over as an event: about a microsecond, no lock, no work.

    The SDK calls it on the run's own event loop, so anything slower would be felt there.
    """

    def __init__(self, emit: Emit, flush: Callable[[float | None], object]) -> None:
        """emit takes an event; flush(timeout_s) waits until all of them are processed."""
        self._emit = emit
        self._flush = flush

    def on_trace_start(self, trace: Trace) -> None:
        """Hand over that a trace began."""
        self._emit((TRACE_START, trace, monotonic_ns(), None))

    def on_trace_end(self, trace: Trace) -> None:
        """Hand over that a trace ended."""
        self._emit((TRACE_END, trace, monotonic_ns(), None))

    def on_span_start(self, span: Span[Any]) -> None:
        """Hand over that a span began, with the run it belongs to."""
        self._emit((SPAN_START, span, monotonic_ns(), CURRENT_TICKET.get()))

    def on_span_end(self, span: Span[Any]) -> None:
        """Hand over that a span ended."""
        self._emit((SPAN_END, span, monotonic_ns(), None))

    def shutdown(self, timeout: float | None = None) -> None:
        """Process what was handed over, for at most `timeout` seconds."""
        self._flush(timeout)

    def force_flush(self) -> None:
        """Process what was handed over."""
        self._flush(None)
