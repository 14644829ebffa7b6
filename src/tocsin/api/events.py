"""What was raised of runs, as JSON, newest first: /api/v1/breaches."""

from typing import Protocol, Self

import msgspec
from starlette.requests import Request

from tocsin.api.answering import Answering, parameters_of
from tocsin.api.parameters import event_query
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.model.finding import Finding
from tocsin.model.moment import write_time
from tocsin.model.run import Breach, Contributor
from tocsin.store.event_log import Event, EventKind, EventQuery

__all__ = ["EventDocument", "EventRoutes", "EventsDocument", "breach_event", "finding_event"]


class EventDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that a run passed, or a signal that something is wrong with it."""

    kind: EventKind
    name: str
    """Of the limit (latency, tokens, cost, first_token, turns), or of the signal."""
    at: str
    workflow: str
    run_id: str | None
    """None while the run's root has not come."""
    trace_id: str
    severity: str
    in_flight: bool
    """It was seen while the run went on."""
    message: str
    value: float | None = None
    """Of a breach: in seconds, tokens, US dollars or turns."""
    threshold: float | None = None
    action: str | None = None
    contributors: tuple[Contributor, ...] = ()
    """What has taken how much of it, the largest first."""

    @classmethod
    def of(cls, event: Event) -> Self:
        """Read an event; its run may have become known since it was written."""
        document = msgspec.json.decode(event.document, type=cls)
        return msgspec.structs.replace(document, run_id=event.run_id)


class EventsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Events, the latest first."""

    events: list[EventDocument]


class EventReader(Protocol):
    """Who keeps events."""

    def newest(self, query: EventQuery) -> list[Event]:
        """Read events, the latest first. Raises StoreError."""
        ...


class EventRoutes:
    """Answers from the event log."""

    def __init__(
        self, log: EventReader, answering: Answering, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._log = log
        self._clock = clock
        self.routes = [answering.route("/api/v1/breaches", self._events)]

    def _events(self, request: Request) -> EventsDocument:
        query = event_query(parameters_of(request), self._clock.wall_ns())
        return EventsDocument(events=[EventDocument.of(one) for one in self._log.newest(query)])


def breach_event(breach: Breach, now_ns: int) -> Event:
    """Write a breach as it is kept."""
    document = EventDocument(
        kind=EventKind.BREACH,
        name=breach.limit,
        at=write_time(now_ns),
        workflow=breach.workflow,
        run_id=breach.run_id,
        trace_id=breach.trace_id,
        severity=breach.severity,
        in_flight=breach.in_flight,
        message=breach.message,
        value=breach.value,
        threshold=breach.threshold,
        action=breach.action,
        contributors=breach.contributors,
    )
    return _event(document, now_ns)


def finding_event(finding: Finding, now_ns: int) -> Event:
    """Write a finding as it is kept."""
    document = EventDocument(
        kind=EventKind.FINDING,
        name=finding.signal,
        at=write_time(now_ns),
        workflow=finding.workflow,
        run_id=finding.run_id,
        trace_id=finding.trace_id,
        severity=finding.severity,
        in_flight=finding.in_flight,
        message=finding.message,
    )
    return _event(document, now_ns)


def _event(document: EventDocument, now_ns: int) -> Event:
    return Event(
        at_ns=now_ns,
        kind=document.kind,
        name=document.name,
        workflow=document.workflow,
        trace_id=document.trace_id,
        run_id=document.run_id,
        document=msgspec.json.encode(document),
    )
