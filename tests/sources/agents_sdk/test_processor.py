from collections import deque
from typing import Any

import pytest

from tests.fakes.spans import sdk_span, sdk_trace
from tocsin.sources.agents_sdk import events
from tocsin.sources.agents_sdk.events import Event, Ticket
from tocsin.sources.agents_sdk.processor import CURRENT_TICKET, EventProcessor


class Inbox:
    """Somewhere to put events, with room for some."""

    def __init__(self, room: int) -> None:
        self.items: deque[Any] = deque()
        self.room = room


def processor(inbox: Inbox | None = None) -> tuple[EventProcessor, list[Event], list[float | None]]:
    emitted: list[Event] = []
    flushed: list[float | None] = []
    return EventProcessor(emitted.append, flushed.append, inbox), emitted, flushed


CALLBACKS = [
    ("on_trace_start", events.TRACE_START, sdk_trace()),
    ("on_trace_end", events.TRACE_END, sdk_trace()),
    ("on_span_start", events.SPAN_START, sdk_span()),
    ("on_span_end", events.SPAN_END, sdk_span()),
    # Nothing is looked at: whatever comes is handed over.
    ("on_span_start", events.SPAN_START, None),
    ("on_span_end", events.SPAN_END, object()),
]


@pytest.mark.parametrize(("callback", "kind", "subject"), CALLBACKS)
def test_callback_is_handed_over(callback: str, kind: int, subject: Any) -> None:
    faces = [processor(), processor(Inbox(0))]
    for found, emitted, _ in faces:
        getattr(found, callback)(subject)
        ((got_kind, got_subject, at_ns, ticket),) = emitted

        assert (kind, True, True, None) == (got_kind, got_subject is subject, at_ns > 0, ticket)


@pytest.mark.parametrize(("callback", "kind", "subject"), CALLBACKS[2:])
def test_span_goes_straight_into_an_inbox_with_room(callback: str, kind: int, subject: Any) -> None:
    inbox = Inbox(room=1)
    found, emitted, _ = processor(inbox)
    getattr(found, callback)(subject)

    assert ([], kind, 4) == (emitted, inbox.items[0], len(inbox.items))


def test_full_inbox_leaves_the_decision_to_emit() -> None:
    inbox = Inbox(room=4)
    found, emitted, _ = processor(inbox)
    for _ in range(3):
        found.on_span_end(sdk_span())

    assert (4, 2) == (len(inbox.items), len(emitted))


@pytest.mark.parametrize("room", [0, 100])
def test_span_start_carries_the_run_that_the_task_belongs_to(room: int) -> None:
    inbox = Inbox(room)
    found, emitted, _ = processor(inbox)
    ticket = Ticket()
    token = CURRENT_TICKET.set(ticket)
    found.on_span_start(sdk_span())
    CURRENT_TICKET.reset(token)

    assert ticket is (inbox.items[3] if room else emitted[0][3])


def test_subclass_with_its_own_callback_keeps_it() -> None:
    heard: list[object] = []

    class Own(EventProcessor):
        def on_span_end(self, span: Any) -> None:
            heard.append(span)

    inbox = Inbox(100)
    found = Own(lambda event: None, lambda timeout_s: None, inbox)
    found.on_span_start(sdk_span())
    found.on_span_end("span")

    assert (["span"], 4) == (heard, len(inbox.items))


def test_shutdown_and_flush_wait_for_what_was_handed_over() -> None:
    found, _, flushed = processor()
    found.shutdown()
    found.shutdown(2.5)
    found.force_flush()

    assert [None, 2.5, None] == flushed
