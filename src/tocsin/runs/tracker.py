"""Open runs: which run a span belongs to, and when a run is over."""

from collections import OrderedDict
from typing import Final

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Outcome, Run
from tocsin.model.span import Cost, ErrorClass, Kind, RunEnd, Span, SpanStart, TraceEnd
from tocsin.runs.open_run import LastRun, Member, OpenRun, Placement
from tocsin.runs.outcome import derive_outcome
from tocsin.runs.retries import RetryWatch

__all__ = ["Tracker", "fold_call"]

MAX_CLOSED_TRACES: Final = 10_000
WORK: Final = frozenset({Kind.LLM, Kind.TOOL, Kind.HANDOFF, Kind.GUARDRAIL})
NS_PER_S: Final = 1_000_000_000


class Tracker:
    """Folds spans into runs. Not thread-safe; one worker owns it.

    A run is a root span of kind RUN; one inside another (an agent used as a tool) belongs to the
    outer one. Where a source reports no such spans, a trace's agents together are one run. A run
    closes when its root has ended and, if the source promised to say, its caller is done; or on
    the end of its trace; or, as `unknown`, after `idle_ttl_s` without any event.
    """

    def __init__(
        self,
        *,
        idle_ttl_s: float = 3600.0,
        caller_grace_s: float = 1.0,
        max_open_runs: int = 10_000,
    ) -> None:
        self._idle_ttl_ns = int(idle_ttl_s * NS_PER_S)
        self._grace_ns = int(caller_grace_s * NS_PER_S)
        self._max_open_runs = max_open_runs
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._members: dict[str, Member] = {}
        self._by_trace: dict[str, list[OpenRun]] = {}
        self._closed_traces: OrderedDict[str, LastRun] = OrderedDict()
        self._finished: list[tuple[Run, Span | None]] = []
        self.late_spans = 0
        self.expired_runs = 0
        self.evicted_runs = 0

    @property
    def open_count(self) -> int:
        """Runs that are not closed yet."""
        return len(self._open)

    @property
    def open_runs(self) -> list[Run]:
        """Runs that are going on, in the order they were seen; not those whose root has ended."""
        return [opened.run for opened in self._open.values() if not opened.root_ended]

    def start(self, start: SpanStart) -> tuple[Run | None, bool]:
        """Place a span that began; return its run, and whether that run began with it."""
        known = self._members.get(start.span_id)
        again = self._open.get(start.span_id) if known is None else known.opened
        if again is not None:
            return again.run, False
        parent = self._members.get(start.parent_id) if start.parent_id else None
        if parent is None:
            parent = self._adopt(start)
        if parent is None:
            opened = self._open_run(start)
            if opened is None:
                return None, False
            self._join(start, Member(opened, start.kind, nested=False, agent=_agent(start, None)))
            return opened.run, True
        in_tool = parent.kind is Kind.TOOL
        nested = parent.nested or start.kind is Kind.RUN or (start.kind is Kind.AGENT and in_tool)
        agent = _agent(start, parent.agent)
        self._join(start, Member(parent.opened, start.kind, nested, in_tool, agent))
        return parent.opened.run, False

    def end(self, span: Span, now_mono_ns: int) -> Placement:
        """Place a span that ended, and note what it says about its run's outcome."""
        member = self._members.pop(span.span_id, None)
        if member is None:
            return self._place_unstarted(span)
        opened = member.opened
        opened.open_spans.pop(span.span_id, None)
        opened.last_event_mono_ns = now_mono_ns
        if not member.nested:
            self._note(opened, span)
        run = opened.run
        return Placement(
            opened, run.workflow, member.nested, run.run_id, member.agent, run.tags, run.is_guarded
        )

    def fold(self, placement: Placement, span: Span, cost: Cost | None, now_mono_ns: int) -> None:
        """Add a finished span to its run's totals; close the run if the span is its root."""
        opened = placement.opened
        if opened is None:
            return
        match span.kind:
            case Kind.LLM:
                fold_call(opened.run, span, cost)
            case Kind.TOOL:
                opened.run.tool_calls += 1
            case Kind.HANDOFF:
                opened.run.handoffs += 1
            case Kind.RUN if span.span_id == opened.root_id and not opened.root_ended:
                opened.run.ended_ns = span.ended_ns
                opened.rollup = span
                self._end_root(opened, now_mono_ns)

    def end_run(self, end: RunEnd, now_mono_ns: int) -> None:
        """Note that the caller of a run is done, and close the run if its root has ended."""
        opened = self._open.get(end.span_id)
        if opened is None:
            return
        opened.caller_done, opened.reported = True, end.outcome
        if opened.root_ended or opened.spans_trace:
            opened.run.ended_ns = opened.run.ended_ns or end.ended_ns
            self._close(opened)
        else:
            # Interrupted: the root's end may still come, but nobody waits for it any more.
            opened.run.ended_ns = end.ended_ns
            opened.close_at_mono_ns = now_mono_ns + self._grace_ns

    def end_trace(self, end: TraceEnd, now_mono_ns: int) -> None:
        """Close what the trace has left open."""
        for opened in list(self._by_trace.get(end.trace_id, ())):
            if not opened.root_ended:
                opened.run.ended_ns = end.ended_ns
                self._end_root(opened, now_mono_ns)

    def sweep(self, now_mono_ns: int, now_ns: int) -> None:
        """Close runs whose callers never reported, and those idle for too long."""
        idle_since = now_mono_ns - self._idle_ttl_ns
        for opened in list(self._open.values()):
            if opened.close_at_mono_ns is not None and opened.close_at_mono_ns <= now_mono_ns:
                self._close(opened)
            elif opened.last_event_mono_ns <= idle_since:
                self.expired_runs += 1
                self._abandon(opened, now_ns)

    def finished(self) -> list[tuple[Run, Span | None]]:
        """Take the runs closed since the last call, each with its root span if that was seen."""
        finished, self._finished = self._finished, []
        return finished

    def workflow_of(self, trace_id: str) -> str:
        """Workflow of a trace's last run, open or closed; "unknown" where there was none."""
        return self._last_run(trace_id).workflow

    def _last_run(self, trace_id: str) -> LastRun:
        runs = self._by_trace.get(trace_id)
        if runs:
            return LastRun.of(runs[-1].run)
        return self._closed_traces.get(trace_id, LastRun(UNKNOWN, None, None))

    def _adopt(self, start: SpanStart) -> Member | None:
        """Find a run for a span whose parent is not open: its trace's only one."""
        runs = self._by_trace.get(start.trace_id, ())
        if len(runs) != 1 or (start.kind is Kind.RUN and start.parent_id is None):
            return None
        beside = start.parent_id is None and not runs[0].spans_trace
        if beside and start.kind not in WORK:
            return None
        return Member(runs[0], Kind.RUN, nested=False)

    def _open_run(self, start: SpanStart) -> OpenRun | None:
        is_late = start.trace_id in self._closed_traces
        if start.kind not in (Kind.RUN, Kind.AGENT) and (start.kind not in WORK or is_late):
            return None
        run = Run(
            run_id=start.span_id,
            trace_id=start.trace_id,
            workflow=start.workflow,
            started_ns=start.started_ns,
            started_mono_ns=start.started_mono_ns,
            conversation_id=start.conversation_id,
            tags=start.tags,
            is_guarded=start.is_guarded,
        )
        opened = OpenRun(
            run=run,
            root_id=start.span_id,
            spans_trace=start.kind is not Kind.RUN,
            reports_end=start.reports_end,
            last_event_mono_ns=start.started_mono_ns,
            retries=RetryWatch(),
            open_spans={},
            signals=set(),
        )
        self._open[start.span_id] = opened
        self._by_trace.setdefault(start.trace_id, []).append(opened)
        if len(self._open) > self._max_open_runs:
            self.evicted_runs += 1
            self._abandon(next(iter(self._open.values())), start.started_ns)
        return opened

    def _note(self, opened: OpenRun, span: Span) -> None:
        """Keep what a top-level span says about its run."""
        if span.outcome is not None:
            opened.signals.add(span.outcome)
        if span.kind is Kind.STEP:
            opened.run.turns += 1
        elif span.kind is Kind.LLM:
            opened.last_call_failed = span.error not in (None, ErrorClass.CANCELLED)

    def _join(self, start: SpanStart, member: Member) -> None:
        member.opened.last_event_mono_ns = start.started_mono_ns
        member.opened.open_spans[start.span_id] = member
        self._members[start.span_id] = member

    def _place_unstarted(self, span: Span) -> Placement:
        """Place a span whose start was dropped, or whose run is over."""
        runs = self._by_trace.get(span.trace_id, ())
        opened = runs[0] if len(runs) == 1 else None
        if opened is None and span.trace_id in self._closed_traces:
            self.late_spans += 1
        last = self._last_run(span.trace_id)
        return Placement(opened, nested=opened is not None, **last._asdict())

    def _end_root(self, opened: OpenRun, now_mono_ns: int) -> None:
        opened.root_ended = True
        if opened.reports_end and not opened.caller_done:
            opened.close_at_mono_ns = now_mono_ns + self._grace_ns
        else:
            self._close(opened)

    def _abandon(self, opened: OpenRun, now_ns: int) -> None:
        opened.reported, opened.run.ended_ns = Outcome.UNKNOWN, opened.run.ended_ns or now_ns
        self._close(opened)

    def _close(self, opened: OpenRun) -> None:
        run = opened.run
        del self._open[opened.root_id]
        siblings = self._by_trace[run.trace_id]
        siblings.remove(opened)
        if not siblings:
            del self._by_trace[run.trace_id]
        work_left_open = any(
            member.kind in WORK and not member.in_tool for member in opened.open_spans.values()
        )
        if opened.last_call_failed:
            # A failed stream leaves no error on its agent; nothing came after it, so it was fatal.
            opened.signals.add(Outcome.ERROR)
        for span_id in opened.open_spans:
            self._members.pop(span_id, None)
        self._closed_traces[run.trace_id] = LastRun.of(run)
        if len(self._closed_traces) > MAX_CLOSED_TRACES:
            self._closed_traces.popitem(last=False)
        run.outcome = derive_outcome(opened.reported, opened.signals, work_left_open=work_left_open)
        run.turns = run.turns or run.llm_calls
        self._finished.append((run, opened.rollup))


def _agent(start: SpanStart, around: str | None) -> str | None:
    return start.name if start.kind is Kind.AGENT else around


def fold_call(run: Run, span: Span, cost: Cost | None) -> None:
    """Add an LLM call's usage and cost to a run."""
    run.llm_calls += span.calls
    if span.usage is None:
        run.usage_missing += span.error is None
        return
    run.input_tokens += span.usage.input_tokens
    run.output_tokens += span.usage.output_tokens
    if cost is None:
        run.unpriced_calls += 1
    else:
        run.priced_calls += 1
        run.cost_usd += cost.total
