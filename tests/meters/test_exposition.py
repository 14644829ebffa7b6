from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import CATALOGUE, Metric, MetricType
from tocsin.meters.exposition import RegistryCollector
from tocsin.meters.registry import Registry
from tocsin.model.label import clean_name


def exposed(registry: Registry) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(RegistryCollector(registry.collect))
    return found


def lines(registry: Registry) -> list[str]:
    page = generate_latest(exposed(registry)).decode()
    return [line for line in page.splitlines() if not line.startswith("#")]


def filled() -> Registry:
    """Every metric once."""
    registry = Registry()
    for metric in CATALOGUE:
        labels = tuple(f"{label}-value" for label in metric.labels)
        if metric.type is MetricType.HISTOGRAM:
            registry.observe(metric, labels, metric.buckets[0])
        else:
            registry.set(metric, labels, 2)
    return registry


def test_counter() -> None:
    registry = Registry()
    registry.add(m.COST, ("gpt-4o", "support", "input"), Decimal("0.0123"))

    assert [
        'agent_cost_dollars_total{cost_type="input",model="gpt-4o",workflow="support"} 0.0123'
    ] == lines(registry)


def test_gauge() -> None:
    registry = Registry()
    registry.set(m.ACTIVE_RUNS, ("support",), 3)

    assert ['agent_active_workflows{workflow="support"} 3.0'] == lines(registry)


def test_histogram_is_cumulative() -> None:
    registry = Registry()
    for value in (0.01, 0.05, 2, 100):
        registry.observe(m.TOOL_DURATION, ("t", "w"), value)

    counts = [1, 2, 2, 2, 2, 3, 3, 3, 3, 4]
    bounds = [*map(float, m.TOOL_DURATION.buckets), "+Inf"]
    name, labels = "agent_tool_duration_seconds", 'tool="t",workflow="w"'
    assert [
        *(
            f'{name}_bucket{{le="{bound}",{labels}}} {count}.0'
            for bound, count in zip(bounds, counts, strict=True)
        ),
        f"{name}_count{{{labels}}} 4.0",
        f"{name}_sum{{{labels}}} 102.06",
    ] == lines(registry)


def test_help_and_type_are_shown() -> None:
    registry = Registry()
    registry.add(m.TOOL_ERRORS, ("t", "w"), 0)
    page = generate_latest(exposed(registry)).decode().splitlines()

    assert [
        "# HELP agent_tool_errors_total Failed tool calls.",
        "# TYPE agent_tool_errors_total counter",
    ] == page[:2]


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_survives_both_formats(metric: Metric) -> None:
    page = exposed(filled())
    name = metric.name.removesuffix("_total")
    found = [
        [(f.type, len(f.samples)) for f in parsed if f.name == name]
        for parsed in (
            parse_text(generate_latest(page).decode()),
            parse_openmetrics(generate_openmetrics(page).decode()),  # type: ignore[no-untyped-call]
        )
    ]
    samples = len(metric.buckets) + 3 if metric.buckets else 1

    assert [[(metric.type.value, samples)]] * 2 == found


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_any_cleaned_name_survives_the_page(names: list[str]) -> None:
    registry = Registry()
    cleaned = {name for text in names if (name := clean_name(text)) is not None}
    for name in cleaned:
        registry.set(m.ACTIVE_RUNS, (name,), 1)
    page = generate_latest(exposed(registry)).decode()

    assert cleaned == {
        sample.labels["workflow"] for family in parse_text(page) for sample in family.samples
    }


def test_collector_needs_no_series_to_be_registered() -> None:
    assert [] == lines(Registry())
