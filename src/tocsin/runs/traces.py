"""Spans that arrive in any order, batch by batch -> traces that can be folded into runs."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec

from tocsin.model.span import Kind, Span
from tocsin.runs.fold import FoldedRun, fold
from tocsin.runs.twins import Twins
from tocsin.sources.tocsin_attributes import RUN_ID, RUN_OUTCOME

__all__ = ["Settled", "TraceBook"]

NS_PER_S: Final = 1_000_000_000


class OpenTrace(msgspec.Struct):
    """A trace's spans so far, and what of them has been handed on."""

    trace_id: str
    position: int
    """Journal position of its first span that has not been handed on."""
    first_ns: int
    last_ns: int
    spans: dict[str, Span]
    has_root: bool = False
    is_over: bool = False
    """Its runs have been handed on."""
    handed_on: set[str] = msgspec.field(default_factory=set)
    counted_runs: set[str] = msgspec.field(default_factory=set)
    waiting: int = 0


class Settled(msgspec.Struct, frozen=True):
    """A trace's spans, parted into runs as far as they are known now.

    fresh: ids of spans handed on for the first time; only they are to be counted. new_runs: ids of
    runs that are complete for the first time. is_over: all are, but for late spans. is_amended:
    they were complete before.
    """

    trace_id: str
    runs: list[FoldedRun]
    fresh: frozenset[str]
    is_over: bool
    is_amended: bool
    new_runs: frozenset[str]


class TraceBook:
    """Holds a trace until its root has come and its senders have been quiet, or patience ends.

    Times are monotonic nanoseconds. settle_s: quiet after the root, for batches that are split.
    patience_s: how long spans wait for a root at most, so that the calls of a long run are
    counted while it goes on. idle_s: silence after which a trace without a root is over.
    linger_s: how long a settled trace is kept for late spans.
    max_spans: spans held in all; beyond it the oldest traces are handed on as they are.
    """

    def __init__(
        self,
        *,
        settle_s: float = 1.0,
        patience_s: float = 10.0,
        idle_s: float = 60.0,
        linger_s: float = 300.0,
        max_spans: int = 200_000,
        silent: tuple[str, ...] = (),
    ) -> None:
        self._settle_ns = int(settle_s * NS_PER_S)
        self._patience_ns = int(patience_s * NS_PER_S)
        self._idle_ns = int(idle_s * NS_PER_S)
        self._linger_ns = int(linger_s * NS_PER_S)
        self._max_spans = max_spans
        self._silent = silent
        self._traces: OrderedDict[str, OpenTrace] = OrderedDict()
        self._twins = Twins()
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
        return min((t.position for t in self._traces.values() if t.waiting), default=None)

    def knows(self, trace_id: str) -> bool:
        """Whether a trace is in memory."""
        return trace_id in self._traces

    def add(self, spans: Iterable[Span], position: int, now_ns: int) -> None:
        """Take the spans of a journal record; those that were here before are dropped."""
        for span in spans:
            trace = self._traces.get(span.trace_id)
            if trace is None:
                trace = OpenTrace(span.trace_id, position, now_ns, now_ns, {})
                self._traces[span.trace_id] = trace
            if span.span_id in trace.spans:
                self.duplicates += 1
                continue
            if not trace.waiting:
                trace.position, trace.first_ns = position, now_ns
                self.late_spans += bool(trace.handed_on and trace.has_root)
            trace.spans[span.span_id] = span
            trace.waiting += 1
            trace.last_ns = now_ns
            trace.has_root = trace.has_root or span.parent_id is None
            self._held += 1

    def restore(self, spans: Iterable[Span], now_ns: int, *, are_over: bool = False) -> None:
        """Take back spans that were handed on before. are_over: so were the runs of the rooted."""
        for span in spans:
            trace = self._traces.get(span.trace_id)
            if trace is None:
                trace = OpenTrace(span.trace_id, 0, now_ns, now_ns, {})
                self._traces[span.trace_id] = trace
            if span.span_id not in trace.spans:
                trace.spans[span.span_id] = span
                trace.handed_on.add(span.span_id)
                if RUN_OUTCOME in span.attributes:
                    trace.counted_runs.add(span.attributes[RUN_ID])
                trace.has_root = trace.has_root or span.parent_id is None
                trace.is_over = are_over and trace.has_root
                self._held += 1

    def settled(self, now_ns: int, *, everything: bool = False) -> list[Settled]:
        """Hand on the traces that are due; all of them if `everything`."""
        due = [trace for trace in self._traces.values() if everything or self._due(trace, now_ns)]
        handed = [self._hand_on(t, now_ns) for t in due if t.waiting or not t.is_over]
        for trace_id in [
            t.trace_id for t in self._traces.values() if self._is_forgotten(t, now_ns)
        ]:
            self._forget(trace_id)
        while self._held > self._max_spans and self._traces:
            oldest = next(iter(self._traces.values()))
            if oldest.waiting:
                handed.append(self._hand_on(oldest, now_ns))
            self.spilled_traces += 1
            self._forget(oldest.trace_id)
        return handed

    def _due(self, trace: OpenTrace, now_ns: int) -> bool:
        quiet_ns = now_ns - trace.last_ns
        if not trace.is_over and quiet_ns >= self._idle_ns:
            return True
        has_come = trace.has_root and quiet_ns >= self._settle_ns
        return trace.waiting > 0 and (has_come or now_ns - trace.first_ns >= self._patience_ns)

    def _is_forgotten(self, trace: OpenTrace, now_ns: int) -> bool:
        return trace.is_over and not trace.waiting and now_ns - trace.last_ns >= self._linger_ns

    def _forget(self, trace_id: str) -> None:
        self._held -= len(self._traces.pop(trace_id).spans)

    def _hand_on(self, trace: OpenTrace, now_ns: int) -> Settled:
        runs = fold(list(trace.spans.values()), self._silent)
        if not trace.handed_on:
            runs = [run for run in runs if not self._is_twin(run)]
        fresh = frozenset(trace.spans.keys() - trace.handed_on)
        was_over = trace.is_over
        has_ended = trace.has_root and all(run.reported is not False for run in runs)
        trace.is_over = has_ended or now_ns - trace.last_ns >= self._idle_ns
        new_runs = frozenset(run.run.run_id for run in runs if _is_new(run, trace, was_over))
        trace.counted_runs.update(new_runs)
        trace.handed_on.update(fresh)
        trace.waiting = 0
        return Settled(trace.trace_id, runs, fresh, trace.is_over, was_over, new_runs)

    def _is_twin(self, run: FoldedRun) -> bool:
        alone = len(run.spans) == 1 and run.spans[0].kind is Kind.LLM
        return alone and self._twins.is_twin(run.spans[0])


def _is_new(folded: FoldedRun, trace: OpenTrace, was_over: bool) -> bool:
    """Whether a run is complete now and was not before."""
    if folded.reported is None:
        return trace.is_over and not was_over
    # A trace can hold several runs, hours apart: each is complete with its own report.
    return folded.reported and folded.run.run_id not in trace.counted_runs
