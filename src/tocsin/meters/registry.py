"""Counters, gauges and histograms as plain values, and a consistent view of them."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

import msgspec

from tocsin.meters.cardinality import CardinalityGuard
from tocsin.meters.catalogue import LABEL_OVERFLOWS, Metric

__all__ = ["Amount", "Distribution", "Family", "Labels", "Number", "Readings", "Registry"]

Amount: TypeAlias = int | float | Decimal


class Number:
    """A counter's or gauge's state."""

    __slots__ = ("value",)

    def __init__(self, value: Amount = 0) -> None:
        self.value = value


class Distribution(msgspec.Struct):
    """A histogram's state: `counts` has one entry per bucket, the last one for +Inf."""

    counts: list[int]
    sum: float = 0.0

    def add(self, value: float, bounds: Sequence[float]) -> None:
        """Add an observation; bounds: the buckets' upper ones, without +Inf."""
        self.counts[bisect_left(bounds, value)] += 1
        self.sum += value


Labels: TypeAlias = tuple[str, ...]
Together = TypeVar("Together")
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
        self._numbers: defaultdict[Metric, dict[Labels, Number]] = defaultdict(dict)
        self._distributions: defaultdict[Metric, dict[Labels, Distribution]] = defaultdict(dict)
        self._together: defaultdict[Callable[..., Any], dict[Labels, Any]] = defaultdict(dict)
        self._lock = threading.Lock()

    def updating(self) -> AbstractContextManager[object]:
        """Keep readers out until the block ends."""
        return self._lock

    def has(self, metric: Metric, labels: Labels) -> bool:
        """Whether a counter or gauge has a series of its own for these labels."""
        return labels in self._numbers.get(metric, ())

    def number(self, metric: Metric, labels: Labels) -> Number:
        """Return a counter's or gauge's series, made at 0: so the first real raise is visible."""
        series = self._numbers[metric]
        number = series.get(labels)
        if number is None:
            labels = self._guard.fold(metric.labels, labels)
            number = series.setdefault(labels, Number())
        return number

    def distribution(self, metric: Metric, labels: Labels) -> Distribution:
        """Return a histogram's series, made empty where there is none."""
        series = self._distributions[metric]
        distribution = series.get(labels)
        if distribution is None:
            labels = self._guard.fold(metric.labels, labels)
            empty = Distribution([0] * (len(metric.buckets) + 1))
            distribution = series.setdefault(labels, empty)
        return distribution

    def together(self, make: Callable[["Registry", Labels], Together], labels: Labels) -> Together:
        """Return `make(registry, labels)`, which looks series up, as it was made first.

        Where labels were folded it is made anew each time, so that each update is counted as one
        that was folded, and what differs with every run is not remembered.
        """
        made: dict[Labels, Together] = self._together[make]
        found = made.get(labels)
        if found is None:
            folded = self._guard.folded
            found = make(self, labels)
            if self._guard.folded == folded:
                made[labels] = found
        return found

    def add(self, metric: Metric, labels: Labels, amount: Amount = 1) -> None:
        """Raise a counter; 0 only creates its series."""
        self.number(metric, labels).value += amount  # type: ignore[operator]

    def set(self, metric: Metric, labels: Labels, value: Amount | None) -> None:
        """Set a gauge, or a counter that is kept elsewhere; None takes a gauge's series away."""
        if value is None:
            self._numbers[metric].pop(labels, None)
        else:
            self.number(metric, labels).value = value

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Add an observation to a histogram."""
        self.distribution(metric, labels).add(value, metric.buckets)

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
        self._together.clear()
        self._numbers.clear()
        self._distributions.clear()

    def _family(self, metric: Metric) -> Family:
        numbers = self._numbers.get(metric, {})
        return Family(
            metric,
            {labels: float(number.value) for labels, number in numbers.items()},
            {
                labels: Distribution(found.counts.copy(), found.sum)
                for labels, found in self._distributions.get(metric, {}).items()
            },
        )

    def _count_overflows(self) -> None:
        for label, count in self._guard.overflows.items():
            self._numbers[LABEL_OVERFLOWS][label,] = Number(count)
