"""The registry in Prometheus' and OpenMetrics' text formats, through prometheus_client."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric as ClientMetric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from tocsin.meters.catalogue import MetricType
from tocsin.meters.registry import Distribution, Family

__all__ = ["RegistryCollector"]


class RegistryCollector(Collector):
    """Shows families to any prometheus_client registry, and so to any /metrics page."""

    def __init__(self, families: Callable[[], list[Family]]) -> None:
        self._families = families

    def describe(self) -> list[ClientMetric]:
        """Describe nothing: names appear with their first series."""
        return []

    def collect(self) -> Iterator[ClientMetric]:
        """Convert every family as it is now."""
        for family in self._families():
            yield _convert(family)


def _convert(family: Family) -> ClientMetric:
    metric = family.metric
    match metric.type:
        case MetricType.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, distribution in family.distributions.items():
                histogram.add_metric(labels, *_buckets(metric.buckets, distribution))
            return histogram
        case MetricType.COUNTER:
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in family.values.items():
                counter.add_metric(labels, value)
            return counter
        case _:
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in family.values.items():
                gauge.add_metric(labels, value)
            return gauge


def _buckets(
    bounds: tuple[float, ...], distribution: Distribution
) -> tuple[list[tuple[str, float]], float]:
    cumulative, buckets = 0, []
    for bound, count in zip((*map(float, bounds), "+Inf"), distribution.counts, strict=True):
        cumulative += count
        buckets.append((str(bound), float(cumulative)))
    return buckets, distribution.sum
