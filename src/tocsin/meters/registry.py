"""Counters, gauges and histograms as plain values, and a consistent view of them."""

import threading
from bisect import bisect_left
from collections import defaultdict
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import TypeAlias

import msgspec

from tocsin.meters.cardinality import CardinalityGuard
from tocsin.meters.catalogue import LABEL_OVERFLOWS, Metric

__all__ = ["Amount", "Distribution", "Family", "Labels", "Readings", "Registry"]

Amount: TypeAlias = int | float | Decimal


class Distribution(msgspec.Struct):
    """A histogram's state: `counts` has one entry per bucket, the last one for +Inf."""

    counts: list[int]
    sum: float = 0.0


Labels: TypeAlias = tuple[str, ...]
Readings: TypeAlias = dict[tuple[Metric, Labels], Amount | None]
"""Values to set, by metric and labels; None where a gauge is not known."""


class Family(msgspec.Struct, frozen=True):
    """One metric's values at a moment: a number or a Distribution for each set of labels."""

    metric: Metric
    values: dict[Labels, float]
    distributions: dict[Labels, Distribution]


class Registry:
    """Holds every series. Writers use `updating()`; each `with` block is seen whole or not at all.

    Money is added up as Decimal and becomes a float only when it is shown.
    """

    def __init__(self, guard: CardinalityGuard | None = None) -> None:
        self._guard = guard or CardinalityGuard()
        self._numbers: defaultdict[Metric, dict[Labels, Amount]] = defaultdict(dict)
        self._distributions: defaultdict[Metric, dict[Labels, Distribution]] = defaultdict(dict)
        self._lock = threading.Lock()

    def updating(self) -> AbstractContextManager[object]:
        """Keep readers out until the block ends."""
        return self._lock

    def has(self, metric: Metric, labels: Labels) -> bool:
        """Whether a counter or gauge has a series of its own for these labels."""
        return labels in self._numbers.get(metric, ())

    def add(self, metric: Metric, labels: Labels, amount: Amount = 1) -> None:
        """Raise a counter; 0 creates its series, so that the first real raise is visible."""
        series = self._numbers[metric]
        value = series.get(labels)
        if value is None:
            labels = self._guard.fold(metric.labels, labels)
            value = series.get(labels, 0)
        series[labels] = value + amount  # type: ignore[operator]

    def set(self, metric: Metric, labels: Labels, value: Amount | None) -> None:
        """Set a gauge, or a counter that is kept elsewhere; None takes a gauge's series away."""
        series = self._numbers[metric]
        if value is None:
            series.pop(labels, None)
            return
        if labels not in series:
            labels = self._guard.fold(metric.labels, labels)
        series[labels] = value

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Add an observation to a histogram."""
        distribution = self._distributions[metric].get(labels)
        if distribution is None:
            distribution = self._new_distribution(metric, labels)
        distribution.counts[bisect_left(metric.buckets, value)] += 1
        distribution.sum += value

    def _new_distribution(self, metric: Metric, labels: Labels) -> Distribution:
        labels = self._guard.fold(metric.labels, labels)
        empty = Distribution([0] * (len(metric.buckets) + 1))
        return self._distributions[metric].setdefault(labels, empty)

    def fold(self, metric: Metric, labels: Labels) -> Labels:
        """Labels under which an update would be counted."""
        return self._guard.fold(metric.labels, labels, counted=False)

    def labels_of(self, metric: Metric) -> list[Labels]:
        """Labels of every series that a counter or gauge has."""
        return list(self._numbers.get(metric, ()))

    def collect(self) -> list[Family]:
        """Copy everything, as it was between two updates."""
        with self._lock:
            self._count_overflows()
            metrics = self._numbers.keys() | self._distributions.keys()
            return [self._family(metric) for metric in sorted(metrics, key=lambda m: m.name)]

    def reset_after_fork(self) -> None:
        """Forget everything: a forked child counts for itself, and owns none of our locks."""
        self._lock = threading.Lock()
        self._guard.reset()
        self._numbers.clear()
        self._distributions.clear()

    def _family(self, metric: Metric) -> Family:
        numbers = self._numbers.get(metric, {})
        return Family(
            metric,
            {labels: float(value) for labels, value in numbers.items()},
            {
                labels: Distribution(found.counts.copy(), found.sum)
                for labels, found in self._distributions.get(metric, {}).items()
            },
        )

    def _count_overflows(self) -> None:
        for label, count in self._guard.overflows.items():
            self._numbers[LABEL_OVERFLOWS][label,] = count
