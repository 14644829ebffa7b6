"""Spans that arrive in any order, batch by batch -> traces that can be folded into runs."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Final

import msgspec

from tocsin.model.span import Kind, Span
from tocsin.runs.client_spans import ClientSpans
from tocsin.runs.fold import FoldedRun, fold
from tocsin.runs.twins import RecentCalls
from tocsin.sources.tocsin_attributes import RUN_ID, RUN_OUTCOME

__all__ = ["Settled", "TraceBook"]

NS_PER_S: Final = 1_000_000_000
MAX_SPILLED: Final = 50_000
"""Ids of traces that are brought back when more of them comes."""


class OpenTrace(msgspec.Struct):
    """A trace's spans so far, and what of them has been handed on."""

    trace_id: str
    position: int
    """Journal position of its first span that has not been handed on."""
    first_ns: int
    last_ns: int
    spans: dict[str, Span] = {}
    look_ns: int = -1
    """When to look at it next, as the agenda has it."""
    has_root: bool = False
    is_over: bool = False
    """Its runs have been handed on."""
    handed_on: set[str] = set()
    counted_runs: set[str] = set()
    is_twin: bool = False
    """Its first span, alone then, repeats a call of another trace."""
    waiting: int = 0


class Settled(msgspec.Struct, frozen=True):
    """A trace's spans, parted into runs as far as they are known now.

    rest: spans that belong to no run. fresh: ids of spans handed on for the first time; only they
    are to be counted. new_runs: ids of
    runs that are complete for the first time. is_over: all are, but for late spans. is_amended:
    they were complete before.
    """

    trace_id: str
    runs: list[FoldedRun]
    rest: list[Span]
    fresh: frozenset[str]
    is_over: bool
    is_amended: bool
    new_runs: frozenset[str]


class TraceBook:
    """Holds a trace until its root has come and its senders have been quiet, or patience ends.

    Times are monotonic nanoseconds. settle_s: quiet after the root, for batches that are split.
    patience_s: how long spans wait for a root at most, so that the calls of a long run are
    counted while it goes on. idle_s: silence after which a trace without a root is over.
    linger_s: how long a settled trace is kept for late spans. max_spans: spans held in all; beyond
    it settled traces are forgotten early, then the oldest others handed on as they are.
    """

    def __init__(
        self,
        *,
        settle_s: float = 1.0,
        patience_s: float = 10.0,
        idle_s: float = 60.0,
        linger_s: float = 300.0,
        max_spans: int = 50_000,
    ) -> None:
        self._settle_ns = int(settle_s * NS_PER_S)
        self._patience_ns = int(patience_s * NS_PER_S)
        self._idle_ns = int(idle_s * NS_PER_S)
        self._linger_ns = int(linger_s * NS_PER_S)
        self._max_spans = max_spans
        self._traces: OrderedDict[str, OpenTrace] = OrderedDict()
        self._lingering: OrderedDict[str, None] = OrderedDict()
        """Traces that are over and wait for nothing but late spans, the longest quiet first."""
        self._agenda: list[tuple[int, str]] = []
        """A heap; entries that are not at their trace's `look_ns` are void."""
        self._waiting_since: OrderedDict[int, int] = OrderedDict()
        """Journal position -> how many traces wait since then. Positions come in order."""
        self._spilled: OrderedDict[str, None] = OrderedDict()
        self._calls = RecentCalls()
        self._clients = ClientSpans()
        self._held = 0
        self.duplicates = 0
        self.late_spans = 0
        self.spilled_traces = 0

    @property
    def held_spans(self) -> int:
        """Spans in memory."""
        return self._held

    def first_waiting(self) -> int | None:
        """Lowest journal position whose spans have not all been handed on; None if all are."""
        return next(iter(self._waiting_since), None)

    def knows(self, trace_id: str) -> bool:
        """Whether a trace is in memory."""
        return trace_id in self._traces

    def so_far(self, trace_id: str) -> list[Span]:
        """Return a trace's spans that are in memory, but for those that may repeat another's."""
        trace = self._traces.get(trace_id)
        return [] if trace is None else self._clients.without_clients(trace.spans)

    def was_spilled(self, trace_id: str) -> bool:
        """Whether a trace was handed on unfinished lately, for want of room."""
        return trace_id in self._spilled

    def add(self, spans: Iterable[Span], position: int, now_ns: int) -> None:
        """Take the spans of a journal record; those that were here before are dropped."""
        touched: dict[str, OpenTrace] = {}
        for span in spans:
            trace = touched.get(span.trace_id)
            if trace is None:
                trace = touched[span.trace_id] = self._open(span.trace_id, position, now_ns)
            if span.span_id in trace.spans:
                self.duplicates += 1
                continue
            if not trace.waiting:
                self._wait(trace, position, now_ns)
            trace.spans[span.span_id] = span
            trace.waiting += 1
            trace.last_ns = now_ns
            if span.parent_id is None:
                trace.has_root = True
            if not self._clients.note(span):
                self._calls.note(span)
            self._held += 1
        for trace in touched.values():
            self._schedule(trace)

    def restore(self, spans: Iterable[Span], now_ns: int, *, are_over: bool = False) -> None:
        """Take back spans that were handed on before. are_over: so were the runs of the rooted."""
        for span in spans:
            trace = self._open(span.trace_id, 0, now_ns)
            self._spilled.pop(span.trace_id, None)
            known = trace.spans.get(span.span_id)
            if known is not None and known.kind is not Kind.LLM:
                continue  # an LLM span may stand for the calls of an agent with the same id
            self._held += known is None
            trace.spans[span.span_id] = span
            trace.handed_on.add(span.span_id)
            if RUN_OUTCOME in span.attributes:
                trace.counted_runs.add(span.attributes[RUN_ID])
            trace.has_root = trace.has_root or span.parent_id is None
            trace.is_over = are_over and trace.has_root
            self._schedule(trace)

    def settled(self, now_ns: int, *, everything: bool = False) -> list[Settled]:
        """Hand on the traces that are due; all of them if `everything`."""
        due = list(self._traces.values()) if everything else list(self._due(now_ns))
        handed = []
        for trace in due:
            if trace.waiting or not trace.is_over:
                handed.append(self._hand_on(trace, now_ns))
                self._schedule(trace)
        if not everything:
            self._forget_quiet(now_ns)
        while self._held > self._max_spans and self._traces:
            handed += self._shed(now_ns)
        return handed

    def _open(self, trace_id: str, position: int, now_ns: int) -> OpenTrace:
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = OpenTrace(trace_id, position, now_ns, now_ns)
        return trace

    def _wait(self, trace: OpenTrace, position: int, now_ns: int) -> None:
        """Begin to hold spans of a trace back."""
        trace.position, trace.first_ns = position, now_ns
        self._waiting_since[position] = self._waiting_since.get(position, 0) + 1
        self._lingering.pop(trace.trace_id, None)
        self.late_spans += bool(trace.handed_on and trace.has_root)

    def _look_ns(self, trace: OpenTrace) -> int:
        """When something is to be done about a trace that is not over, or has late spans."""
        if not trace.waiting:
            return trace.last_ns + self._idle_ns
        look_ns = trace.first_ns + self._patience_ns
        if trace.has_root:
            look_ns = min(look_ns, trace.last_ns + self._settle_ns)
        return look_ns if trace.is_over else min(look_ns, trace.last_ns + self._idle_ns)

    def _schedule(self, trace: OpenTrace) -> None:
        """Put a trace on the agenda, unless it is there already for then or before.

        Those that only linger are many, and have a list of their own.
        """
        if trace.is_over and not trace.waiting:
            self._lingering[trace.trace_id] = None
            return
        look_ns = self._look_ns(trace)
        if trace.look_ns < 0 or look_ns < trace.look_ns:
            trace.look_ns = look_ns
            heappush(self._agenda, (look_ns, trace.trace_id))

    def _due(self, now_ns: int) -> Iterator[OpenTrace]:
        while self._agenda and self._agenda[0][0] <= now_ns:
            look_ns, trace_id = heappop(self._agenda)
            trace = self._traces.get(trace_id)
            if trace is None or trace.look_ns != look_ns:
                continue
            trace.look_ns = -1
            if trace.trace_id in self._lingering:
                continue
            if self._look_ns(trace) <= now_ns:
                yield trace
            else:
                self._schedule(trace)

    def _forget_quiet(self, now_ns: int) -> None:
        """Forget what is over, once nothing has come for long enough."""
        while self._lingering:
            trace = self._traces[next(iter(self._lingering))]
            if trace.last_ns + self._linger_ns > now_ns:
                break
            self._forget(trace)

    def _shed(self, now_ns: int) -> list[Settled]:
        """Make room: forget what is over, else hand the oldest on as it is."""
        if self._lingering:
            self._forget(self._traces[next(iter(self._lingering))])
            return []
        oldest = next(iter(self._traces.values()))
        handed = [self._hand_on(oldest, now_ns)] if oldest.waiting else []
        self.spilled_traces += 1
        self._spilled[oldest.trace_id] = None
        if len(self._spilled) > MAX_SPILLED:
            self._spilled.popitem(last=False)
        self._forget(oldest)
        return handed

    def _forget(self, trace: OpenTrace) -> None:
        del self._traces[trace.trace_id]
        self._lingering.pop(trace.trace_id, None)
        self._held -= len(trace.spans)

    def _hand_on(self, trace: OpenTrace, now_ns: int) -> Settled:
        spans = list(trace.spans.values())
        if not trace.handed_on:
            trace.is_twin = len(spans) == 1 and self._calls.is_twin(spans[0])
        runs = fold(self._clients.without_repeats(trace.spans)[trace.is_twin :])
        in_runs = {placed.span.span_id for run in runs for placed in run.spans}
        rest = [span for span in spans if span.span_id not in in_runs]
        fresh = frozenset(trace.spans.keys() - trace.handed_on)
        was_over = trace.is_over
        has_ended = trace.has_root and all(run.reported is not False for run in runs)
        trace.is_over = has_ended or now_ns - trace.last_ns >= self._idle_ns
        new_runs = frozenset(run.run.run_id for run in runs if _is_new(run, trace, was_over))
        trace.counted_runs.update(new_runs)
        trace.handed_on.update(fresh)
        self._stop_waiting(trace)
        return Settled(trace.trace_id, runs, rest, fresh, trace.is_over, was_over, new_runs)

    def _stop_waiting(self, trace: OpenTrace) -> None:
        if trace.waiting:
            left = self._waiting_since[trace.position] - 1
            self._waiting_since[trace.position] = left
            if not left:
                del self._waiting_since[trace.position]
            trace.waiting = 0


def _is_new(folded: FoldedRun, trace: OpenTrace, was_over: bool) -> bool:
    """Whether a run is complete now and was not before."""
    if folded.reported is None:
        return trace.is_over and not was_over
    # A trace can hold several runs, hours apart: each is complete with its own report.
    return folded.reported and folded.run.run_id not in trace.counted_runs
