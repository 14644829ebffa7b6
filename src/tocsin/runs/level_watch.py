"""Service levels where spans come only when they end: in flight as far as it is certain."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from tocsin.model.run import Run
from tocsin.model.span import Span
from tocsin.runs.flight import NEVER_NS, SUMMED, Flight, OpenRun, PartOfRun, parts_of_runs
from tocsin.runs.fold import FoldedRun
from tocsin.runs.level_check import (
    FoundBreach,
    Prices,
    cost_usd,
    find_breaches,
    first_token_s,
)
from tocsin.runs.limits import FIRST, MAX_IDLE_DEADLINES, MAX_LATENCY_S, WorkflowSLA, level_of
from tocsin.sources.tocsin_attributes import RUN_ID

__all__ = ["LevelWatch"]

MAX_FLIGHTS: Final = 20_000
"""Traces that are followed. The longest silent are given up first: they are judged when whole."""
SOONER_NS: Final = 100_000_000
"""By how much a deadline must have come nearer for it to be put down again."""


class LevelWatch:
    """Compares runs with their service levels, as their spans come in and once they are over.

    The same breach may be found again: while a run goes on, at its end, when late spans amend it,
    after a restart. Who tells of it has to know what was raised before. Not thread-safe.
    """

    def __init__(
        self,
        slas: Mapping[str, WorkflowSLA],
        prices: Prices,
        so_far: Callable[[str], Sequence[Span]],
    ) -> None:
        """so_far: the spans of a trace that are in memory, those that are taken included."""
        self._slas = slas
        self._prices = prices
        self._so_far = so_far
        self._flights: OrderedDict[str, Flight] = OrderedDict()
        self._deadlines: list[tuple[int, str, str]] = []
        """Heap of when to look, trace, and run ("": at whatever part of it goes on)."""
        self._most_deadlines = MAX_IDLE_DEADLINES
        self._has_dollars = any("cost" in sla.limits for sla in slas.values())

    def take(self, spans: Iterable[Span], now_ns: int) -> list[FoundBreach]:
        """Follow spans that have come, at a time on the monotonic clock."""
        begun: set[str] = set()
        followed: dict[str, Flight] = {}
        for span in spans:
            trace_id = span.trace_id
            if trace_id in begun:
                continue
            flight = self._flights.get(trace_id)
            if flight is not None:
                self._add(flight, span, now_ns)
            elif span.workflow is not None and level_of(self._slas, span.workflow) is not None:
                begun.add(trace_id)
                flight = self._begin(span, now_ns)
            else:
                continue
            followed[trace_id] = flight
        due = [flight for flight in followed.values() if flight.is_due()]
        return [found for flight in due for found in self._look(flight)]

    def sweep(self, now_ns: int) -> list[FoundBreach]:
        """Find runs that are over their latency and whose end has not come."""
        found: list[FoundBreach] = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            _, trace_id, run_id = heapq.heappop(self._deadlines)
            flight = self._flights.get(trace_id)
            if flight is None or flight.has_root:
                continue
            if run_id:
                found += self._late_run(flight, run_id, now_ns)
            else:
                found += self._late_parts(flight, now_ns)
        return found

    def judge(self, folded: FoldedRun) -> list[FoundBreach]:
        """Compare a run that is over, as far as it is known; its cost must have been added."""
        run = folded.run
        sla = level_of(self._slas, run.workflow)
        if sla is None:
            return []
        values = {
            "latency": run.duration_s,
            "tokens": run.total_tokens,
            "cost": float(run.cost_usd),
            "turns": run.turns,
            FIRST: first_token_s(folded.spans) if FIRST in sla.limits else None,
        }
        part = PartOfRun(run, folded.spans, is_identified=True)
        return list(find_breaches(part, sla, values, self._prices, in_flight=False))

    def forget(self, trace_id: str) -> None:
        """A trace is over, as far as anyone knows; what nobody has told the end of is watched."""
        flight = self._flights.get(trace_id)
        if flight is not None and (flight.has_root or not (flight.runs or flight.is_awaited)):
            del self._flights[trace_id]

    def _begin(self, span: Span, now_ns: int) -> Flight:
        """Follow a trace from now on, with all of it that has come before."""
        flight = self._flights[span.trace_id] = Flight.of(span.trace_id)
        for known in self._so_far(span.trace_id) or (span,):
            self._add(flight, known, now_ns)
        if len(self._flights) > MAX_FLIGHTS:
            self._flights.popitem(last=False)
        return flight

    def _add(self, flight: Flight, span: Span, now_ns: int) -> None:
        cost = self._prices.cost(span) if self._has_dollars and span.usage is not None else None
        flight.add(span, None if cost is None else float(cost.total), now_ns)
        if span.workflow is None:
            return
        sla = flight.levels.get(span.workflow)
        if sla is None:
            sla = level_of(self._slas, span.workflow)
            if sla is None:
                return
            flight.hold_to(span.workflow, sla)
            self._flights.move_to_end(flight.trace_id)
        latency_ns = _latency_ns(sla)
        if latency_ns is not None:
            self._await_end(flight, span, latency_ns)

    def _await_end(self, flight: Flight, span: Span, latency_ns: int) -> None:
        """Put down when to look at a span's run, if its end has not come by then."""
        if RUN_ID in span.attributes:
            run = flight.note_run(span)
            if run is not None:
                self._look_later(flight, run, latency_ns)
        elif not flight.is_awaited and not flight.was_late:
            flight.is_awaited = True
            self._put(span.started_ns + flight.clock_ns + latency_ns, flight)

    def _look_later(self, flight: Flight, run: OpenRun, latency_ns: int) -> None:
        look_ns = run.started_ns + flight.clock_ns + latency_ns
        if look_ns < run.look_ns - SOONER_NS:
            run.look_ns = look_ns
            self._put(look_ns, flight, run.run_id)

    def _put(self, look_ns: int, flight: Flight, run_id: str = "") -> None:
        heapq.heappush(self._deadlines, (look_ns + 1, flight.trace_id, run_id))
        if len(self._deadlines) > self._most_deadlines:
            self._deadlines = [entry for entry in self._deadlines if self._is_open(*entry)]
            heapq.heapify(self._deadlines)
            self._most_deadlines = 2 * len(self._deadlines) + MAX_IDLE_DEADLINES

    def _is_open(self, _look_ns: int, trace_id: str, run_id: str) -> bool:
        """Whether what a deadline is for may still go on."""
        flight = self._flights.get(trace_id)
        if flight is None or flight.has_root:
            return False
        return not run_id or run_id in flight.runs

    def _look(self, flight: Flight) -> Iterator[FoundBreach]:
        """Find what the parts that are certain have broken, and how much the others have left."""
        parts = parts_of_runs(self._so_far(flight.trace_id))
        slack: dict[str, float] = {}
        for part in parts:
            sla = level_of(self._slas, part.run.workflow)
            if sla is None:
                continue
            values = self._values(part, sla)
            yield from find_breaches(part, sla, values, self._prices, in_flight=True)
            for limit in SUMMED:
                left = sla.levels.get(limit, -1.0) - (values[limit] or 0)
                if left >= 0:
                    slack[limit] = min(slack.get(limit, left), left)
        flight.looked(slack, len(parts))

    def _values(self, part: PartOfRun, sla: WorkflowSLA) -> dict[str, float | None]:
        """Add up what a part has taken so far, at least."""
        return {
            "tokens": part.run.total_tokens,
            "cost": cost_usd(part.spans, self._prices) if "cost" in sla.limits else None,
            # Without its root, nobody knows which turns are those of agents used as tools.
            "turns": part.run.turns if part.is_identified else None,
            FIRST: first_token_s(part.spans),
        }

    def _late_run(self, flight: Flight, run_id: str, now_ns: int) -> Iterator[FoundBreach]:
        run = flight.runs.get(run_id)
        sla = None if run is None else level_of(self._slas, run.workflow)
        latency_ns = None if sla is None else _latency_ns(sla)
        if run is None or sla is None or latency_ns is None:
            return
        passed_ns = flight.passed_ns(run.started_ns, now_ns)
        if passed_ns <= latency_ns:
            run.look_ns = NEVER_NS
            self._look_later(flight, run, latency_ns)
            return
        parts = parts_of_runs(self._so_far(flight.trace_id))
        known = (part for part in parts if part.is_identified and part.run.run_id == run_id)
        yield from self._late(next(known, None) or _unseen(flight, run), sla, passed_ns)

    def _late_parts(self, flight: Flight, now_ns: int) -> Iterator[FoundBreach]:
        """Find parts that certainly go on, and for too long; look again when others will have."""
        flight.is_awaited = False
        next_ns = NEVER_NS
        for part in parts_of_runs(self._so_far(flight.trace_id)):
            sla = level_of(self._slas, part.run.workflow)
            latency_ns = None if sla is None else _latency_ns(sla)
            if sla is None or latency_ns is None or part.is_identified or not part.goes_on:
                continue
            passed_ns = flight.passed_ns(part.run.started_ns, now_ns)
            if passed_ns > latency_ns:
                flight.was_late = True
                yield from self._late(part, sla, passed_ns)
            else:
                next_ns = min(next_ns, now_ns + latency_ns - passed_ns)
        if next_ns < NEVER_NS:
            flight.is_awaited = True
            self._put(next_ns, flight)

    def _late(self, part: PartOfRun, sla: WorkflowSLA, passed_ns: int) -> Iterator[FoundBreach]:
        values = {"latency": passed_ns / 1e9}
        return find_breaches(part, sla, values, self._prices, in_flight=True)


def _latency_ns(sla: WorkflowSLA) -> int | None:
    latency_s = sla.max_latency_seconds
    return None if latency_s is None else int(min(float(latency_s), MAX_LATENCY_S) * 1e9)


def _unseen(flight: Flight, run: OpenRun) -> PartOfRun:
    """Make what is known of a run whose spans are not in memory any more."""
    known = Run(
        run_id=run.run_id,
        trace_id=flight.trace_id,
        workflow=run.workflow,
        started_ns=run.started_ns,
        started_mono_ns=0,
    )
    return PartOfRun(known, (), is_identified=True)
