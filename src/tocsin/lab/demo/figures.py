"""Metric families -> the figures that the demo shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import Metric
from tocsin.meters.registry import Family, Labels
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass

__all__ = [
    "FlowFigures",
    "ModelFigures",
    "Snapshot",
    "failed_calls",
    "flow_figures",
    "model_figures",
    "quantile",
]

T = TypeVar("T")

FAILED = frozenset(Outcome) - {Outcome.OK, Outcome.GUARDRAIL}


def quantile(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """Estimate the q-quantile of a classic histogram by linear interpolation.

    bounds: upper bounds, ascending, without +Inf. counts: per bucket, not cumulative, the last
    one for +Inf. Returns None without observations; the highest bound where the quantile falls
    in the +Inf bucket (Prometheus' `histogram_quantile`).
    """
    total = sum(counts)
    if not total:
        return None
    rank, below, lower = q * total, 0, 0.0
    for bound, inside in zip(bounds, counts, strict=False):
        if inside and below + inside >= rank:
            return lower + (bound - lower) * (rank - below) / inside
        below, lower = below + inside, bound
    return lower


class Snapshot:
    """All metrics at one moment, summed over the labels that a question leaves open."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = {family.metric: family for family in families}

    def total(self, metric: Metric, **labels: str) -> float | None:
        """Sum of the matching series; None when there are none."""
        family = self._families.get(metric)
        values = [] if family is None else _matching(metric, family.values, labels)
        return sum(values) if values else None

    def by(self, metric: Metric, label: str, **labels: str) -> dict[str, float]:
        """Sums of the matching series for each value of a label."""
        family = self._families.get(metric)
        index, sums = metric.labels.index(label), dict[str, float]()
        for key, value in {} if family is None else family.values.items():
            if _matches(metric, key, labels):
                sums[key[index]] = sums.get(key[index], 0) + value
        return sums

    def quantile(self, metric: Metric, q: float, **labels: str) -> float | None:
        """Quantile of the matching histograms together."""
        family = self._families.get(metric)
        found = [] if family is None else _matching(metric, family.distributions, labels)
        counts = [sum(column) for column in zip(*(one.counts for one in found), strict=True)]
        return quantile(metric.buckets, counts, q)

    def ratio(self, part: Metric, whole: Metric, **labels: str) -> float | None:
        """One counter as a share of another; None while the whole is 0."""
        total = self.total(whole, **labels)
        return (self.total(part, **labels) or 0) / total if total else None

    def observations(self, metric: Metric, **labels: str) -> int:
        """How much the matching histograms have observed."""
        family = self._families.get(metric)
        found = [] if family is None else _matching(metric, family.distributions, labels)
        return sum(sum(one.counts) for one in found)


def _matching(metric: Metric, series: Mapping[Labels, T], labels: Mapping[str, str]) -> list[T]:
    return [value for key, value in series.items() if _matches(metric, key, labels)]


def _matches(metric: Metric, key: Labels, labels: Mapping[str, str]) -> bool:
    return all(key[metric.labels.index(label)] == wanted for label, wanted in labels.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFigures:
    """What is known of a workflow's runs. partial: calls without tokens or price are missing."""

    workflow: str
    outcomes: Mapping[str, int]
    p50_s: float | None
    p95_s: float | None
    guardrail_rate: float | None
    tokens: float | None
    tokens_partial: bool
    cost_usd: float | None
    cost_partial: bool
    active: float
    oldest_s: float | None

    @property
    def runs(self) -> int:
        """Finished runs."""
        return sum(self.outcomes.values())

    @property
    def error_rate(self) -> float | None:
        """Share of finished runs that ended neither well nor at a guardrail."""
        failed = sum(self.outcomes.get(outcome, 0) for outcome in FAILED)
        return failed / self.runs if self.runs else None

    @property
    def cost_per_success_usd(self) -> float | None:
        """All that the workflow cost, over the runs that succeeded."""
        succeeded = self.outcomes.get(Outcome.OK, 0)
        return self.cost_usd / succeeded if succeeded and self.cost_usd is not None else None


def flow_figures(now: Snapshot, workflow: str, *, wall_s: float) -> FlowFigures:
    """Read a workflow's figures; wall_s: the time, in seconds since the epoch."""
    missing = bool(now.total(m.USAGE_MISSING, workflow=workflow))
    oldest = now.total(m.OLDEST_RUN, workflow=workflow)
    outcomes = now.by(m.RUNS, "outcome", workflow=workflow)
    return FlowFigures(
        workflow=workflow,
        outcomes={outcome: int(runs) for outcome, runs in outcomes.items()},
        p50_s=now.quantile(m.RUN_DURATION, 0.5, workflow=workflow),
        p95_s=now.quantile(m.RUN_DURATION, 0.95, workflow=workflow),
        guardrail_rate=now.ratio(m.GUARDRAIL_TRIGGERED, m.GUARDRAIL_CHECKS, workflow=workflow),
        tokens=now.total(m.TOKENS, workflow=workflow),
        tokens_partial=missing,
        cost_usd=now.total(m.COST, workflow=workflow),
        cost_partial=missing or bool(now.total(m.UNPRICED_TOKENS, workflow=workflow)),
        active=now.total(m.ACTIVE_RUNS, workflow=workflow) or 0,
        oldest_s=max(0.0, wall_s - oldest) if oldest else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What is known of a model's calls."""

    model: str
    calls: float
    error_rate: float | None
    p95_s: float | None
    first_token_p95_s: float | None
    tokens: float | None
    cost_usd: float | None
    partial: bool


def failed_calls(now: Snapshot, **labels: str) -> float | None:
    """Share of LLM calls that failed; one that its caller cancelled did not."""
    calls = now.total(m.LLM_CALLS, **labels)
    errors = now.by(m.LLM_ERRORS, "error", **labels)
    failed = sum(number for error, number in errors.items() if error != ErrorClass.CANCELLED)
    return failed / calls if calls else None


def model_figures(now: Snapshot) -> list[ModelFigures]:
    """Read every model's figures, the most used first."""
    calls = now.by(m.LLM_CALLS, "model")
    return [
        ModelFigures(
            model=model,
            calls=calls[model],
            error_rate=failed_calls(now, model=model),
            p95_s=now.quantile(m.LLM_DURATION, 0.95, model=model),
            first_token_p95_s=now.quantile(m.FIRST_TOKEN, 0.95, model=model),
            tokens=now.total(m.TOKENS, model=model),
            cost_usd=now.total(m.COST, model=model),
            partial=bool(now.total(m.USAGE_MISSING, model=model)),
        )
        for model in sorted(calls, key=lambda name: (-calls[name], name))
    ]
