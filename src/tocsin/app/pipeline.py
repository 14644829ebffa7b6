"""Records -> runs -> prices -> observers: the one path that everything counted has taken."""

import logging
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.meters import catalogue as m
from tocsin.meters.observer import Observer
from tocsin.meters.registry import Readings
from tocsin.model.finding import Finding
from tocsin.model.run import Breach, Outcome, Run
from tocsin.model.span import Cost, Kind, Observation, RunEnd, Span, SpanStart, TraceEnd
from tocsin.quality.freshness import UNKNOWN
from tocsin.quality.watch import QualityWatch
from tocsin.runs.conversations import Conversations
from tocsin.runs.limits import SlaWatch, WorkflowSLA
from tocsin.runs.open_run import LastRun, Placement
from tocsin.runs.spend import DailySpend
from tocsin.runs.tracker import Tracker, fold_call

__all__ = ["Pipeline", "Prices"]

logger = logging.getLogger(__name__)

ANNOUNCED: Final = frozenset({Kind.TOOL, Kind.HANDOFF, Kind.GUARDRAIL})


class Prices(Protocol):
    """What the pipeline needs to know about money."""

    def cost(self, span: Span) -> Cost | None:
        """Price an LLM span; None when unknown."""
        ...

    def provider(self, span: Span) -> str | None:
        """Who serves an LLM span's model."""
        ...


class Pipeline:
    """Feeds one stream of records to a tracker and observers.

    Not thread-safe; one worker owns it.
    """

    def __init__(
        self, prices: Prices, *, run_ttl_s: float = 3600.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """run_ttl_s: how long a run may be silent before it is given up."""
        self.slas = SlaWatch()
        self.quality = QualityWatch()
        self.sink_errors: dict[str, int] = {}
        """Sink -> how often its observer raised."""
        self._prices = prices
        self._run_ttl_s = run_ttl_s
        self._clock = clock
        self._observers: list[Observer] = []
        self.forget()

    def forget(self) -> None:
        """Drop every run, open or counted; observers and service levels stay."""
        self.sink_errors.clear()
        self.tracker = Tracker(idle_ttl_s=self._run_ttl_s)
        self.spend = DailySpend()
        self.slas.forget()
        self.quality.forget()
        self._conversations = Conversations()

    def add_observer(self, observer: Observer) -> None:
        """Tell an observer of everything from now on."""
        self._observers.append(observer)

    def remove_observer(self, observer: Observer) -> None:
        """Tell an observer nothing any more."""
        if observer in self._observers:
            self._observers.remove(observer)

    def add_slas(self, slas: Mapping[str, WorkflowSLA]) -> None:
        """Hold runs that start from now on to these service levels."""
        self.slas.add(slas)

    def feed(self, record: SpanStart | Span | RunEnd | TraceEnd | Breach) -> None:
        """Take the next record of a source."""
        now_mono_ns = self._clock.monotonic_ns()
        match record:
            case SpanStart():
                self._start(record)
            case Span():
                self._end(record, now_mono_ns)
            case RunEnd():
                self.tracker.end_run(record, now_mono_ns)
            case TraceEnd():
                self.tracker.end_trace(record, now_mono_ns)
            case Breach():
                self._raise([self.slas.explain(record)])
        self._finish_runs()

    def totals(self) -> Readings:
        """What was spent today in all, and what happened to runs and spans that was not right."""
        tracker = self.tracker
        return {
            (m.BUDGET_SPENT, ("all",)): self.spend.today(self._clock.wall_ns()),
            (m.LATE_SPANS, ()): tracker.late_spans,
            (m.LOST_RUNS, ("expired",)): tracker.expired_runs,
            (m.LOST_RUNS, ("evicted",)): tracker.evicted_runs,
            **{(m.SINK_ERRORS, (sink,)): count for sink, count in self.sink_errors.items()},
        }

    def sweep(self) -> None:
        """Notice what no record tells: runs over their latency, callers gone, runs idle."""
        now_mono_ns = self._clock.monotonic_ns()
        self._raise(self.slas.sweep(now_mono_ns))
        self.tracker.sweep(now_mono_ns, self._clock.wall_ns())
        self._finish_runs()

    def _start(self, start: SpanStart) -> None:
        run, is_new = self.tracker.start(start)
        if run is None:
            return
        if is_new:
            self.slas.started(run)
            self._tell("run_started", run)
        self.slas.began(run, start)
        self.quality.started(run, start)
        if start.kind in ANNOUNCED:
            self._tell("work_started", start.kind, start.name, run.workflow)

    def _end(self, span: Span, now_mono_ns: int) -> None:
        placement = self.tracker.end(span, now_mono_ns)
        opened = placement.opened
        observation = self._observe(span, placement)
        self.tracker.fold(placement, span, observation.cost, now_mono_ns)
        self._tell("span_ended", observation)
        if opened is not None:
            self._raise(self.slas.progressed(opened.run, span, observation.cost))
            self._report(self.quality.ended(opened.run, observation))

    def _observe(self, span: Span, placement: Placement) -> Observation:
        cost = provider = None
        retry, verdict = False, UNKNOWN
        match span.kind:
            case Kind.LLM:
                cost = self._prices.cost(span)
                if cost is not None or span.usage is not None:
                    self.spend.add(None if cost is None else cost.total, span.ended_ns)
                provider = self._prices.provider(span)
            case Kind.TOOL:
                opened = placement.opened
                retry = opened is not None and opened.retries.is_retry(span)
                verdict = self.quality.judge(span)
        return Observation(
            span=span,
            workflow=placement.workflow,
            run_id=placement.run_id,
            agent=placement.agent or span.agent,
            tags=placement.tags,
            is_guarded=placement.is_guarded,
            provider=provider,
            cost=cost,
            nested=placement.nested,
            retry=retry,
            stale=verdict.stale,
            dated=verdict.dated,
        )

    def _finish_runs(self) -> None:
        for run, root in self.tracker.finished():
            if root is not None and run.llm_calls == 0:
                self._fold_rollup(run, root)
            self._raise(self.slas.ended(run))
            self._report(self.quality.finished(run))
            turns = None
            if run.conversation_id is not None:
                turns = self._conversations.continue_one(run.conversation_id)
            self._tell("run_ended", run, turns)

    def _fold_rollup(self, run: Run, root: Span) -> None:
        """Count the tokens of a run whose model left no LLM span, from the run's own rollup."""
        if root.usage is None and not (run.turns and run.outcome is Outcome.OK):
            return
        call = msgspec.structs.replace(root, kind=Kind.LLM, name="rollup")
        placement = Placement(None, **LastRun.of(run)._asdict())
        observation = self._observe(call, placement)
        fold_call(run, call, observation.cost)
        self._tell("span_ended", observation)

    def _raise(self, breaches: list[Breach]) -> None:
        for breach in breaches:
            self._tell("breached", breach)

    def _report(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._tell("found", finding)

    def _tell(self, method: str, *facts: object) -> None:
        """Call a method of every Observer; one that fails keeps nobody else from hearing."""
        for observer in tuple(self._observers):
            try:
                getattr(observer, method)(*facts)
            except Exception as error:  # noqa: BLE001 - clients of users may raise anything
                count = self.sink_errors.get(observer.sink, 0)
                self.sink_errors[observer.sink] = count + 1
                if count == 0:
                    logger.warning("%s failed and will be counted: %r", observer.sink, error)
