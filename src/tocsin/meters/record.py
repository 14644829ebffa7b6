"""Spans and runs -> the catalogue's metrics."""

from collections.abc import Iterable
from typing import Final

from tocsin.meters import catalogue as m
from tocsin.meters.registry import Registry
from tocsin.model.finding import Finding, Signal
from tocsin.model.label import UNKNOWN
from tocsin.model.run import Breach, Outcome, Run
from tocsin.model.span import Cost, ErrorClass, Kind, Observation, Span, Usage

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

    def watch_signals(self, signals: Iterable[Signal]) -> None:
        """Say which signals are watched for: of others there is nothing to count, not even 0."""
        # Plain strings: an enum's own hash, taken for every run, is slow.
        self._signals = tuple(signal.value for signal in signals)
        self._watches_results = Signal.STALE_TOOL_OUTPUT.value in self._signals

    def run_started(self, run: Run) -> None:
        """Create the series of a workflow's outcomes and signals."""
        with self._registry.updating():
            if not self._registry.has(m.RUNS, (run.workflow, Outcome.OK)):
                for outcome in Outcome:
                    self._registry.add(m.RUNS, (run.workflow, outcome), 0)
                self._show_limits(run.workflow)
            for signal in self._signals:
                self._registry.add(m.QUALITY_SIGNALS, (signal, run.workflow), 0)

    def work_started(self, kind: Kind, name: str, workflow: str) -> None:
        """Create a tool's error series before its first call can fail."""
        if kind is Kind.TOOL:
            with self._registry.updating():
                self._registry.add(m.TOOL_ERRORS, (name, workflow), 0)
                self._registry.add(m.TOOL_RETRIES, (name, workflow), 0)
                if self._watches_results:
                    self._registry.add(m.STALE_RESULTS, (name, workflow), 0)

    def span_ended(self, observation: Observation) -> None:
        """Count a finished span."""
        with self._registry.updating():
            match observation.span.kind:
                case Kind.LLM | Kind.EMBEDDING:
                    self._llm(observation)
                case Kind.TOOL:
                    self._tool(observation)
                case Kind.HANDOFF:
                    self._handoff(observation)
                case Kind.GUARDRAIL:
                    self._guardrail(observation)

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        """Count a finished run."""
        workflow = (run.workflow,)
        with self._registry.updating():
            self._registry.add(m.RUNS, (run.workflow, run.outcome or Outcome.UNKNOWN))
            self._registry.observe(m.RUN_DURATION, workflow, run.duration_s)
            self._registry.observe(m.RUN_TURNS, workflow, run.turns)
            if run.total_tokens:
                self._registry.observe(m.RUN_TOKENS, workflow, run.total_tokens)
            if run.known_cost_usd is not None:
                self._registry.observe(m.RUN_COST, workflow, float(run.known_cost_usd))
            if conversation_turns is not None:
                self._registry.observe(m.CONVERSATION_TURNS, workflow, conversation_turns)

    def breached(self, breach: Breach) -> None:
        """Count a passed limit, or what is done before it is."""
        metric = m.STOP_NOTICES if breach.action in ("warn", "switch") else m.SLA_BREACHES
        with self._registry.updating():
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
                self._registry.add(m.SLA_BREACHES, (workflow, limit, action), 0)

    def gauge_runs(self, runs: Iterable[Run]) -> None:
        """Show which runs are going on, by workflow."""
        with self._registry.updating():
            groups: dict[tuple[str, ...], list[Run]] = {
                labels: [] for labels in self._registry.labels_of(m.ACTIVE_RUNS)
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

    def _llm(self, observation: Observation) -> None:
        span, workflow = observation.span, observation.workflow
        model, provider = span.model or UNKNOWN, observation.provider or UNKNOWN
        if span.calls:
            self._registry.observe(m.LLM_DURATION, (model, workflow), span.duration_s)
            self._calls((provider, model, workflow), span)
        if span.first_token_s is not None:
            self._registry.observe(m.FIRST_TOKEN, (model, workflow), span.first_token_s)
        # A failed call used no tokens that anyone reports; one that was cut off did.
        is_missing = span.usage is None and span.error in (None, ErrorClass.CANCELLED)
        self._registry.add(m.USAGE_MISSING, (model, workflow), int(is_missing))
        unpriced = span.usage.total_tokens if span.usage and observation.cost is None else 0
        self._registry.add(m.UNPRICED_TOKENS, (model, workflow), unpriced)
        if span.usage is not None:
            self._tokens(model, workflow, span.usage)
        if observation.cost is not None:
            self._costs(model, workflow, observation.cost)

    def _calls(self, labels: tuple[str, ...], span: Span) -> None:
        if not self._registry.has(m.LLM_CALLS, labels):
            for error in ErrorClass:
                self._registry.add(m.LLM_ERRORS, (*labels, error), 0)
        self._registry.add(m.LLM_CALLS, labels, span.calls)
        if span.error is not None:
            self._registry.add(m.LLM_ERRORS, (*labels, span.error))

    def _tokens(self, model: str, workflow: str, usage: Usage) -> None:
        add = self._registry.add
        is_new = not self._registry.has(m.TOKENS, (model, "input", workflow))
        add(m.TOKENS, (model, "input", workflow), usage.input_tokens)
        add(m.TOKENS, (model, "output", workflow), usage.output_tokens)
        for detail, tokens in (
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if tokens or is_new:
                add(m.TOKEN_DETAILS, (model, detail, workflow), tokens)

    def _costs(self, model: str, workflow: str, cost: Cost) -> None:
        is_new = not self._registry.has(m.COST, (model, workflow, "input"))
        for cost_type, usd in (
            ("input", cost.input),
            ("output", cost.output),
            ("cache_read", cost.cache_read),
            ("cache_write", cost.cache_write),
        ):
            if usd or is_new:
                self._registry.add(m.COST, (model, workflow, cost_type), usd)

    def _tool(self, observation: Observation) -> None:
        span = observation.span
        labels = (span.name, observation.workflow)
        failed = span.error not in (None, ErrorClass.CANCELLED)
        self._registry.observe(m.TOOL_DURATION, labels, span.duration_s)
        self._registry.add(m.TOOL_ERRORS, labels, int(failed))
        self._registry.add(m.TOOL_RETRIES, labels, int(observation.retry))
        self._freshness(observation, labels)

    def _freshness(self, observation: Observation, labels: tuple[str, str]) -> None:
        if self._watches_results:
            self._registry.add(m.STALE_RESULTS, labels, int(observation.stale is not None))
        if observation.dated is None:
            return
        self._registry.add(m.UNDATED_RESULTS, labels, int(not observation.dated))
        result, tool = observation.span.result, observation.span.name
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
