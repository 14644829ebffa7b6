"""Spans and runs -> the catalogue's metrics."""

from collections.abc import Callable, Iterable
from typing import Final

from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import Metric
from tocsin.meters.registry import Registry
from tocsin.meters.series import ModelSeries, RunSeries, ToolSeries
from tocsin.model.finding import Finding, Signal
from tocsin.model.label import UNKNOWN
from tocsin.model.run import Breach, Run
from tocsin.model.span import TOOL, Kind, Observation

__all__ = ["Recorder"]

ANY_WORKFLOW: Final = "*"


class Recorder:
    """Keeps the registry in step with what the pipeline observes.

    Every error-like counter is created at 0 together with its total, or the first error would be
    a series that begins at 1, which `rate()` does not see. Once there, only a raise touches it.
    """

    sink = "registry"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._newest_data_ns: dict[str, int] = {}
        self._limits: dict[str, dict[str, tuple[str, ...]]] = {}
        """Action -> workflow -> limits."""
        self.watch_signals(Signal)
        self._counts: dict[Kind, Callable[[Observation], None]] = {
            Kind.LLM: self._call,
            Kind.EMBEDDING: self._call,
            Kind.TOOL: self._tool,
            Kind.HANDOFF: self._handoff,
            Kind.GUARDRAIL: self._guardrail,
        }

    def watch_signals(self, signals: Iterable[Signal]) -> None:
        """Say which signals are watched for: of others there is nothing to count, not even 0."""
        # Plain strings: an enum's own hash, taken for every run, is slow.
        self._signals = tuple(signal.value for signal in signals)
        self._watches_results = Signal.STALE_TOOL_OUTPUT.value in self._signals

    def run_started(self, run: Run) -> None:
        """Create the series of a workflow's outcomes and signals."""
        with self._registry.updating():
            series = self._registry.together(RunSeries, (run.workflow,))
            if series.start(self._signals):
                self._show_limits(run.workflow)

    def work_started(self, kind: Kind, name: str, workflow: str) -> None:
        """Create a tool's error series before its first call can fail."""
        if kind is TOOL:
            with self._registry.updating():
                self._tool_series(name, workflow)

    def span_ended(self, observation: Observation) -> None:
        """Count a finished span."""
        count = self._counts.get(observation.span.kind)
        if count is not None:
            with self._registry.updating():
                count(observation)

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        """Count a finished run."""
        with self._registry.updating():
            self._registry.together(RunSeries, (run.workflow,)).end(run, conversation_turns)

    def breached(self, breach: Breach) -> None:
        """Count a passed limit, or what is done before it is."""
        with self._registry.updating():
            metric = _metric_of(breach.action)
            self._registry.add(metric, (breach.workflow, breach.limit, breach.action))

    def found(self, finding: Finding) -> None:
        """Count a run with a signal."""
        with self._registry.updating():
            self._registry.add(m.QUALITY_SIGNALS, (finding.signal.value, finding.workflow))

    def watch_limits(self, workflow: str, limits: Iterable[str], action: str = "alert") -> None:
        """Create the series of a workflow's limits before one is passed.

        Those of "*" begin with the first run of each workflow that has none of its own.
        """
        self._limits.setdefault(action, {})[workflow] = tuple(limits)
        if workflow != ANY_WORKFLOW:
            with self._registry.updating():
                self._show_limits(workflow)

    def _show_limits(self, workflow: str) -> None:
        for action, by_workflow in self._limits.items():
            for limit in by_workflow.get(workflow, by_workflow.get(ANY_WORKFLOW, ())):
                self._registry.add(_metric_of(action), (workflow, limit, action), 0)

    def gauge_runs(self, runs: Iterable[Run]) -> None:
        """Show which runs are going on, by workflow."""
        with self._registry.updating():
            # Also of runs that were over before anybody looked: no gauge may come by luck.
            ended = {
                self._registry.fold(m.ACTIVE_RUNS, (workflow,))
                for workflow, _ in self._registry.labels_of(m.RUNS)
            }
            groups: dict[tuple[str, ...], list[Run]] = {
                labels: [] for labels in {*self._registry.labels_of(m.ACTIVE_RUNS), *ended}
            }
            for run in runs:
                labels = self._registry.fold(m.ACTIVE_RUNS, (run.workflow,))
                groups.setdefault(labels, []).append(run)
            for labels, active in groups.items():
                self._gauge_workflow(labels, active)

    def _gauge_workflow(self, labels: tuple[str, ...], active: list[Run]) -> None:
        gauge = self._registry.set
        gauge(m.ACTIVE_RUNS, labels, len(active))
        gauge(m.OLDEST_RUN, labels, min((run.started_ns for run in active), default=0) / 1e9)
        gauge(m.ACTIVE_COST_MAX, labels, max((run.cost_usd for run in active), default=0))
        gauge(m.ACTIVE_TOKENS_MAX, labels, max((run.total_tokens for run in active), default=0))

    def _call(self, observation: Observation) -> None:
        span, provider = observation.span, observation.provider
        labels = (provider or UNKNOWN, span.model or UNKNOWN, observation.workflow)
        self._registry.together(ModelSeries, labels).count(span, observation.cost)

    def _tool_series(self, name: str, workflow: str) -> ToolSeries:
        series = self._registry.together(ToolSeries, (name, workflow))
        if self._watches_results:
            series.watch_results()
        return series

    def _tool(self, observation: Observation) -> None:
        self._tool_series(observation.span.name, observation.workflow).count(observation)
        if observation.dated is not None:
            self._date(observation)

    def _date(self, observation: Observation) -> None:
        result, tool = observation.span.result, observation.span.name
        labels = (tool, observation.workflow)
        self._registry.add(m.UNDATED_RESULTS, labels, int(not observation.dated))
        if result is not None and result.data_ns is not None:
            newest_ns = max(result.data_ns, self._newest_data_ns.get(tool, 0))
            self._newest_data_ns[tool] = newest_ns
            self._registry.set(m.NEWEST_DATA, (tool,), newest_ns / 1e9)

    def _handoff(self, observation: Observation) -> None:
        span = observation.span
        labels = (span.from_agent or UNKNOWN, span.to_agent or UNKNOWN, observation.workflow)
        self._registry.add(m.HANDOFFS, labels)
        self._registry.add(m.HANDOFF_ERRORS, labels, int(span.error is not None))

    def _guardrail(self, observation: Observation) -> None:
        span = observation.span
        labels = (span.name, observation.workflow)
        self._registry.add(m.GUARDRAIL_CHECKS, labels)
        self._registry.add(m.GUARDRAIL_TRIGGERED, labels, int(span.triggered))


def _metric_of(action: str) -> Metric:
    return m.STOP_NOTICES if action in ("warn", "switch") else m.SLA_BREACHES
