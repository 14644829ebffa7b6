"""What the user's threads hand over: tuples, because building anything more costs them time.

Every event is `(type, subject, monotonic ns, detail)`.

| type | subject | detail |
|---|---|---|
| TRACE_START, TRACE_END | the SDK's Trace | None |
| SPAN_START | the SDK's Span | the run's Ticket, or None |
| SPAN_END | the SDK's Span | None |
| CALL | span id of an LLM call | (model, base URL) |
| CALL_FAILED | span id of an LLM call | ErrorClass |
| FIRST_TOKEN | span id of an LLM call | None |
| RUN_END | the run's Ticket | Outcome, or None where the spans must tell |
| LIMIT | the run's Ticket | Breach of a hard limit, without its run |
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

__all__ = [
    "CALL",
    "CALL_FAILED",
    "FIRST_TOKEN",
    "LIMIT",
    "RUN_END",
    "SPAN_END",
    "SPAN_START",
    "TRACE_END",
    "TRACE_START",
    "Emit",
    "Event",
    "Ticket",
    "ignore",
]

TRACE_START: Final = 0
TRACE_END: Final = 1
SPAN_START: Final = 2
SPAN_END: Final = 3
CALL: Final = 4
CALL_FAILED: Final = 5
FIRST_TOKEN: Final = 6
RUN_END: Final = 7
LIMIT: Final = 8

Event: TypeAlias = tuple[int, Any, int, Any]
Emit: TypeAlias = Callable[[Event], None]
"""Hands an event over; never blocks and never raises."""


class Ticket(msgspec.Struct):
    """Ties the caller of a run to the run's root span.

    The ids are filled in by the decoder when the root span starts; they stay None when the run
    was not traced at all.
    """

    span_id: str | None = None
    trace_id: str | None = None
    tags: dict[str, str] | None = None
    """Tags of the run that budgets ask for, where its caller gave them."""
    is_guarded: bool = False
    """The run's calls are reserved before they are made."""


def ignore(event: Event) -> None:
    """Take an event that nobody wants any more."""
