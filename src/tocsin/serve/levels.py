"""Service levels and what else is raised of runs: found, kept once, told."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Final

from tocsin.api.events import breach_event, finding_event
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import StoreError
from tocsin.meters import catalogue as m
from tocsin.meters.clients import SilentObserver
from tocsin.meters.observer import Observer
from tocsin.meters.registry import Registry
from tocsin.model.finding import Finding
from tocsin.model.span import Span
from tocsin.runs.fold import FoldedRun
from tocsin.runs.level_check import FoundBreach, Prices
from tocsin.runs.level_watch import LevelWatch
from tocsin.runs.limits import WorkflowSLA
from tocsin.runs.traces import TraceBook
from tocsin.store.event_log import EventLog, Raised

__all__ = ["Bell", "Levels"]

logger = logging.getLogger(__name__)

MAX_LINES: Final = 20
"""Log lines for what is raised at once; a limit that every run breaks must not fill the log."""


class Bell(SilentObserver):
    """Keeps what is raised in the event log, and tells the others of what is new.

    Where the log cannot be written, everything is new: told twice is better than never.
    """

    sink = "events"

    def __init__(
        self, log: EventLog, observers: Sequence[Observer], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._log = log
        self._observers = observers
        self._clock = clock
        self._findings: list[Finding] = []

    def ring(self, found: Sequence[FoundBreach]) -> None:
        """Tell of breaches that were not raised before."""
        if not found:
            return
        now_ns = self._clock.wall_ns()
        new = self._keep([Raised(breach_event(one.breach, now_ns), one.span_ids) for one in found])
        breaches = [one.breach for one in compress(found, new)]
        _write([breach.message for breach in breaches])
        for breach in breaches:
            for observer in self._observers:
                observer.breached(breach)

    def found(self, finding: Finding) -> None:
        """Take a finding, for the next `flush`."""
        self._findings.append(finding)

    def flush(self) -> None:
        """Keep the findings since the last time."""
        if self._findings:
            now_ns = self._clock.wall_ns()
            new = self._keep([Raised(finding_event(one, now_ns)) for one in self._findings])
            _write([finding.message for finding in compress(self._findings, new)])
            self._findings.clear()

    def _keep(self, raised: Sequence[Raised]) -> list[bool]:
        try:
            return self._log.add(raised)
        except StoreError as error:
            logger.error("%s; what is raised meanwhile may be raised again", error)
            return [True] * len(raised)


def _write(messages: Sequence[str]) -> None:
    for message in messages[:MAX_LINES]:
        logger.warning("%s", message)
    if len(messages) > MAX_LINES:
        logger.warning("… and %d more: GET /api/v1/breaches", len(messages) - MAX_LINES)


class Levels:
    """Watches service levels for a `TraceSink`, and rings the bell.

    What fails in here is logged and counted, and keeps no span from being stored.
    """

    def __init__(
        self,
        slas: Mapping[str, WorkflowSLA],
        prices: Prices,
        book: TraceBook,
        bell: Bell,
        registry: Registry,
    ) -> None:
        self._watch = LevelWatch(slas, prices, book.so_far)
        self._has_levels = bool(slas)
        self._bell = bell
        self._registry = registry
        self._found: list[FoundBreach] = []

    def take(self, spans: Iterable[Span], now_ns: int) -> None:
        """Look at spans that have come; the book must have them."""
        if self._has_levels:
            self._safely(lambda: self._bell.ring(self._watch.take(spans, now_ns)))

    def sweep(self, now_ns: int) -> None:
        """Look for runs that are late; tell of these and of what `judge` has found."""
        found, self._found = self._found, []
        self._safely(lambda: self._bell.ring([*found, *self._watch.sweep(now_ns)]))
        self._safely(self._bell.flush)

    def judge(self, folded: FoldedRun) -> None:
        """Look at a run that is over; `sweep` tells what was found."""
        self._safely(lambda: self._found.extend(self._watch.judge(folded)))

    def forget(self, trace_id: str) -> None:
        """Follow a trace no more; it is over."""
        self._watch.forget(trace_id)

    def _safely(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception:
            logger.exception("service levels could not be checked")
            with self._registry.updating():
                self._registry.add(m.INTERNAL_ERRORS, ())
