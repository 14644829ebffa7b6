"""All quality signals of all runs: the one door for whoever has spans."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from tocsin.model.finding import Finding, Signal
from tocsin.model.run import Run
from tocsin.model.span import TOOL, Observation, Span, SpanStart
from tocsin.quality.freshness import Freshness, Verdict
from tocsin.quality.guardrails import GuardrailHabit
from tocsin.quality.repetition import may_repeat, tells_alone
from tocsin.quality.run import RunWatch
from tocsin.quality.settings import Quality

__all__ = ["QualityWatch"]

MAX_RUNS: Final = 10_000


class QualityWatch:
    """Follows runs and raises each signal once per run. Not thread-safe; one worker owns it."""

    def __init__(self, settings: Quality | None = None) -> None:
        """settings: the defaults, if None."""
        self.settings = settings or Quality()
        self.forget()

    def forget(self) -> None:
        """Drop everything that was seen; the thresholds stay."""
        self._runs: OrderedDict[str, RunWatch] = OrderedDict()
        self._freshness = Freshness(self.settings)
        self._guardrails = GuardrailHabit(self.settings)

    def judge(self, call: Span) -> Verdict:
        """Judge the freshness of a finished tool call's result; once per call."""
        return self._freshness.judge(call)

    def started(self, run: Run, start: SpanStart | Span) -> None:
        """Take a span that began in a run."""
        self._watch(run).start(start)

    def ended(self, run: Run, observation: Observation) -> list[Finding]:
        """Take a span that ended in a run, with its verdict; return what is wrong by now."""
        said = self._watch(run).end(observation)
        return self._raise(run, said) if said else []

    def finished(self, run: Run) -> list[Finding]:
        """Take a run that is over and forget it; return what only its end could show."""
        watch = self._runs.pop(run.run_id, None)
        was_checked = watch is not None and watch.was_checked
        silent = self._guardrails.add(run, was_checked=was_checked)
        if silent is None:
            return []
        return self._findings(run, {Signal.GUARDRAIL_SILENT: silent}, in_flight=False)

    def replay(self, run: Run, spans: Sequence[Span]) -> list[Finding]:
        """Judge a finished run by all its spans, as if they happened now."""
        told = list(enumerate(spans if may_repeat(spans) else filter(tells_alone, spans)))
        moments = [(span.started_ns, 0, place, span) for place, span in told]
        moments += [(span.ended_ns, 1, place, span) for place, span in told]
        moments.sort()
        found: list[Finding] = []
        for _, is_end, _, span in moments:
            if is_end:
                stale = self.judge(span).stale if span.kind is TOOL else None
                seen = Observation(span=span, workflow=run.workflow, stale=stale)
                found += self.ended(run, seen)
            else:
                self.started(run, span)
        return found + self.finished(run)

    def _watch(self, run: Run) -> RunWatch:
        watch = self._runs.get(run.run_id)
        if watch is None:
            watch = self._runs[run.run_id] = RunWatch(self.settings)
            if len(self._runs) > MAX_RUNS:
                self._runs.popitem(last=False)
        return watch

    def _raise(self, run: Run, said: Sequence[tuple[Signal, str]]) -> list[Finding]:
        raised = self._watch(run).raised
        new = {signal: detail for signal, detail in said if signal not in raised}
        raised.update(new)
        return self._findings(run, new, in_flight=run.ended_ns is None)

    def _findings(
        self, run: Run, details: Mapping[Signal, str], *, in_flight: bool
    ) -> list[Finding]:
        return [
            Finding(
                run_id=run.run_id,
                trace_id=run.trace_id,
                workflow=run.workflow,
                signal=signal,
                detail=detail,
                severity=self.settings.severity,
                in_flight=in_flight,
            )
            for signal, detail in details.items()
        ]
