"""Series that the same thing raises together, looked up once for all its updates."""

from typing import Final

from msgspec.structs import astuple

from tocsin.meters import catalogue as m
from tocsin.meters.registry import Distribution, Labels, Number, Registry
from tocsin.model.run import Outcome, Run
from tocsin.model.span import Cost, ErrorClass, Observation, Span, Usage

__all__ = ["ModelSeries", "RunSeries", "ToolSeries"]

CANCELLED: Final = ErrorClass.CANCELLED
DETAILS: Final = ("cache_read", "cache_write", "reasoning")
"""Values of a label, in the order of the fields of Usage."""


class RunSeries:
    """Of the runs of one workflow."""

    __slots__ = ("_labels", "_outcomes", "_registry", "_signals")

    def __init__(self, registry: Registry, labels: Labels) -> None:
        self._registry = registry
        self._labels = labels
        self._outcomes: dict[Outcome, Number] = {}
        self._signals: tuple[str, ...] = ()

    def start(self, signals: tuple[str, ...]) -> bool:
        """Create the series of outcomes and of signals, which are the same for all runs.

        True the first time.
        """
        number = self._registry.number
        is_first = not self._outcomes
        if is_first:
            self._outcomes = {
                outcome: number(m.RUNS, (*self._labels, outcome)) for outcome in Outcome
            }
        if signals is not self._signals:
            self._signals = signals
            for signal in signals:
                number(m.QUALITY_SIGNALS, (signal, *self._labels))
        return is_first

    def end(self, run: Run, conversation_turns: int | None) -> None:
        """Count a finished run."""
        observe, labels = self._registry.observe, self._labels
        outcome = run.outcome or Outcome.UNKNOWN
        known = self._outcomes.get(outcome)
        number = known or self._registry.number(m.RUNS, (*labels, outcome))
        number.value += 1
        observe(m.RUN_DURATION, labels, run.duration_s)
        observe(m.RUN_TURNS, labels, run.turns)
        if run.total_tokens:
            observe(m.RUN_TOKENS, labels, run.total_tokens)
        if run.known_cost_usd is not None:
            observe(m.RUN_COST, labels, float(run.known_cost_usd))
        if conversation_turns is not None:
            observe(m.CONVERSATION_TURNS, labels, conversation_turns)


class ModelSeries:
    """Of the calls of one model in one workflow; labels: provider, model, workflow."""

    __slots__ = (
        *("_calls", "_costs", "_durations", "_errors", "_labels", "_missing", "_model"),
        *("_registry", "_tokens", "_unpriced"),
    )

    def __init__(self, registry: Registry, labels: Labels) -> None:
        self._registry = registry
        self._labels = labels
        self._model = labels[1:]
        self._missing = registry.number(m.USAGE_MISSING, self._model)
        self._unpriced = registry.number(m.UNPRICED_TOKENS, self._model)
        self._calls: Number | None = None
        self._tokens: tuple[Number, ...] = ()
        self._costs: tuple[Number, ...] = ()

    def count(self, span: Span, cost: Cost | None) -> None:
        """Count a finished call."""
        usage, error = span.usage, span.error
        if span.calls:
            self._count_call(span)
        if span.first_token_s is not None:
            self._registry.observe(m.FIRST_TOKEN, self._model, span.first_token_s)
        if usage is not None:
            self._count_tokens(usage)
            if cost is None:
                self._unpriced.value += usage.total_tokens
        elif error is None or error is CANCELLED:
            # A failed call used no tokens that anyone reports; one that was cut off did.
            self._missing.value += 1
        if cost is not None:
            self._count_cost(cost)

    def _count_call(self, span: Span) -> None:
        number = self._registry.number
        if self._calls is None:
            self._calls = number(m.LLM_CALLS, self._labels)
            self._durations = self._registry.distribution(m.LLM_DURATION, self._model)
            self._errors = {
                error: number(m.LLM_ERRORS, (*self._labels, error)) for error in ErrorClass
            }
        self._calls.value += span.calls
        self._durations.add(span.duration_s, m.LLM_DURATION.buckets)
        if span.error is not None:
            self._errors[span.error].value += 1

    def _count_tokens(self, usage: Usage) -> None:
        if not self._tokens:
            model, workflow = self._model
            number = self._registry.number
            self._tokens = (
                *(number(m.TOKENS, (model, way, workflow)) for way in ("input", "output")),
                *(number(m.TOKEN_DETAILS, (model, detail, workflow)) for detail in DETAILS),
            )
        for series, tokens in zip(self._tokens, astuple(usage), strict=True):
            if tokens:
                series.value += tokens

    def _count_cost(self, cost: Cost) -> None:
        if not self._costs:
            self._costs = tuple(
                self._registry.number(m.COST, (*self._model, cost_type))
                for cost_type in Cost.__struct_fields__
            )
        for series, usd in zip(self._costs, astuple(cost), strict=True):
            if usd:
                series.value += usd


class ToolSeries:
    """Of the calls of one tool in one workflow."""

    __slots__ = ("_durations", "_errors", "_labels", "_registry", "_retries", "_stale")

    def __init__(self, registry: Registry, labels: Labels) -> None:
        self._registry = registry
        self._labels = labels
        self._errors = registry.number(m.TOOL_ERRORS, labels)
        self._retries = registry.number(m.TOOL_RETRIES, labels)
        self._durations: Distribution | None = None
        self._stale: Number | None = None

    def watch_results(self) -> None:
        """Count stale results too, from 0 on."""
        if self._stale is None:
            self._stale = self._registry.number(m.STALE_RESULTS, self._labels)

    def count(self, observation: Observation) -> None:
        """Count a finished call."""
        span = observation.span
        if self._durations is None:
            self._durations = self._registry.distribution(m.TOOL_DURATION, self._labels)
        self._durations.add(span.duration_s, m.TOOL_DURATION.buckets)
        if span.error is not None and span.error is not CANCELLED:
            self._errors.value += 1
        if observation.retry:
            self._retries.value += 1
        if observation.stale is not None and self._stale is not None:
            self._stale.value += 1
