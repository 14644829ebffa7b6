"""Counters, gauges and histograms as plain values, and a consistent view of them."""

import threading
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TypeAlias

import msgspec

from tocsin.meters.cardinality import CardinalityGuard
from tocsin.meters.catalogue import LABEL_OVERFLOWS, Metric

__all__ = ["Amount", "Distribution", "Family", "Labels", "Registry"]

Amount: TypeAlias = int | float | Decimal


class Distribution(msgspec.Struct):
    """A histogram's state: `counts` has one entry per bucket, the last one for +Inf."""

    counts: list[int]
    sum: float = 0.0


Labels: TypeAlias = tuple[str, ...]


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
        self._numbers: dict[Metric, dict[Labels, Amount]] = {}
        self._distributions: dict[Metric, dict[Labels, Distribution]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Keep readers out until the block ends."""
        with self._lock:
            yield

    def add(self, metric: Metric, labels: Labels, amount: Amount = 1) -> None:
        """Raise a counter; 0 creates its series, so that the first real raise is visible."""
        series = self._numbers.setdefault(metric, {})
        if labels not in series:
            labels = self._guard.fold(metric.labels, labels)
        series[labels] = series.get(labels, 0) + amount  # type: ignore[operator]

    def set(self, metric: Metric, labels: Labels, value: Amount) -> None:
        """Set a gauge, or a counter that is kept elsewhere."""
        series = self._numbers.setdefault(metric, {})
        if labels not in series:
            labels = self._guard.fold(metric.labels, labels)
        series[labels] = value

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Add an observation to a histogram."""
        series = self._distributions.setdefault(metric, {})
        if labels not in series:
            labels = self._guard.fold(metric.labels, labels)
        distribution = series.get(labels)
        if distribution is None:
            distribution = series[labels] = Distribution([0] * (len(metric.buckets) + 1))
        distribution.counts[bisect_left(metric.buckets, value)] += 1
        distribution.sum += value

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
            self._numbers.setdefault(LABEL_OVERFLOWS, {})[label,] = count
