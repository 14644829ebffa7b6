"""The SDK's trace processor: it only hands events over, whatever they hold."""

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic_ns
from typing import Any, Protocol

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


class Inbox(Protocol):
    """Where events can be put without a call: `items.extend(event)`, while it has room."""

    items: deque[Any]
    room: int
    """Length of `items` from which on `emit` has to decide."""


class EventProcessor(TracingProcessor):
    """Hands every callback over as an event: about a microsecond, no lock, no work.

    The SDK calls it on the run's own event loop, so anything slower would be felt there.
    """

    def __init__(
        self,
        emit: Emit,
        flush: Callable[[float | None], object],
        inbox: Inbox | None = None,
        shutdown: Callable[[float | None], object] | None = None,
    ) -> None:
        """emit takes an event; flush(timeout_s) waits until all of them are processed.

        inbox: where events go as long as it has room; `emit` gets the others. shutdown: called
        instead of flush when the program ends.
        """
        self._emit = emit
        self._flush = flush
        self._shutdown = shutdown or flush
        if inbox is not None:
            for name, callback in shortcuts(emit, inbox).items():
                # A subclass with a callback of its own keeps it.
                if getattr(type(self), name) is getattr(EventProcessor, name):
                    setattr(self, name, callback)

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
        self._shutdown(timeout)

    def force_flush(self) -> None:
        """Process what was handed over."""
        self._flush(None)


def shortcuts(emit: Emit, inbox: Inbox) -> dict[str, Callable[[Any], None]]:
    """Make the callbacks anew, each a single Python frame with everything at hand."""
    items, extend, size = inbox.items, inbox.items.extend, len
    clock_ns, ticket = monotonic_ns, CURRENT_TICKET.get

    def on_span_start(span: Span[Any]) -> None:
        hand_over = extend if size(items) < inbox.room else emit
        hand_over((SPAN_START, span, clock_ns(), ticket()))

    def on_span_end(span: Span[Any]) -> None:
        hand_over = extend if size(items) < inbox.room else emit
        hand_over((SPAN_END, span, clock_ns(), None))

    def on_trace_start(trace: Trace) -> None:
        hand_over = extend if size(items) < inbox.room else emit
        hand_over((TRACE_START, trace, clock_ns(), None))

    def on_trace_end(trace: Trace) -> None:
        hand_over = extend if size(items) < inbox.room else emit
        hand_over((TRACE_END, trace, clock_ns(), None))

    callbacks = (on_trace_start, on_trace_end, on_span_start, on_span_end)
    return {callback.__name__: callback for callback in callbacks}
