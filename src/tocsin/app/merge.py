"""Add up several processes' metrics, exactly."""

from collections.abc import Iterable
from math import fsum
from typing import TypeAlias

from tocsin.meters.catalogue import Metric, MetricType
from tocsin.meters.registry import Distribution, Family, Labels

__all__ = ["Group", "exact_sum", "fold", "merge"]

Group: TypeAlias = list[Family]
"""One process's families."""


def merge(groups: Iterable[tuple[Group, bool]]) -> Group:
    """Add up several processes' families; gauges only of those that are alive.

    Sums are exact before they are rounded once, so the order of processes changes nothing: a
    counter that falls by its last bit looks like a restart to Prometheus.
    """
    values, distributions = _gather(groups)
    return [
        Family(
            metric,
            {labels: _join(metric, found) for labels, found in values[metric].items()},
            {labels: _add(found) for labels, found in distributions[metric].items()},
        )
        for metric in sorted(values, key=lambda metric: metric.name)
    ]


def fold(groups: Iterable[Group]) -> list[Group]:
    """Put the counters and histograms of many groups into few, which add up to exactly the same."""
    values, distributions = _gather((group, False) for group in groups)
    layers: list[dict[Metric, Family]] = []

    def family(metric: Metric, depth: int) -> Family:
        if depth == len(layers):
            layers.append({})
        return layers[depth].setdefault(metric, Family(metric, {}, {}))

    for metric in values:
        for labels, found in values[metric].items():
            for depth, part in enumerate(exact_sum(found)):
                family(metric, depth).values[labels] = part
        for labels, spread in distributions[metric].items():
            counts = _add(spread).counts
            for depth, part in enumerate(exact_sum([one.sum for one in spread])):
                family(metric, depth).distributions[labels] = Distribution(counts, part)
                counts = [0] * len(counts)
    return [list(layer.values()) for layer in layers]


def exact_sum(values: Iterable[float]) -> list[float]:
    """Floats, few, whose exact sum is that of the values (Shewchuk 1997); [0.0] for none."""
    parts: list[float] = []
    for value in values:
        rest, kept = value, []
        for part in parts:
            big, small = (rest, part) if abs(rest) >= abs(part) else (part, rest)
            rest = big + small
            if error := small - (rest - big):
                kept.append(error)
        parts = [*kept, rest]
    return parts or [0.0]


def _gather(
    groups: Iterable[tuple[Group, bool]],
) -> tuple[dict[Metric, dict[Labels, list[float]]], dict[Metric, dict[Labels, list[Distribution]]]]:
    values: dict[Metric, dict[Labels, list[float]]] = {}
    distributions: dict[Metric, dict[Labels, list[Distribution]]] = {}
    for families, is_alive in groups:
        for family in families:
            if family.metric.type is MetricType.GAUGE and not is_alive:
                continue
            numbers = values.setdefault(family.metric, {})
            for labels, value in family.values.items():
                numbers.setdefault(labels, []).append(value)
            spreads = distributions.setdefault(family.metric, {})
            for labels, distribution in family.distributions.items():
                spreads.setdefault(labels, []).append(distribution)
    return values, distributions


def _join(metric: Metric, values: list[float]) -> float:
    match metric.merge:
        case "max":
            return max(values)
        case "oldest":
            return min((value for value in values if value > 0), default=0.0)
        case _:
            return fsum(values)


def _add(distributions: list[Distribution]) -> Distribution:
    # A file of another version may have other buckets.
    size = len(distributions[0].counts)
    same = [one for one in distributions if len(one.counts) == size]
    counts = [sum(column) for column in zip(*(one.counts for one in same), strict=True)]
    return Distribution(counts, fsum(one.sum for one in same))
