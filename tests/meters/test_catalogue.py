import re
from pathlib import Path

import pytest

from tocsin.meters.cardinality import BOUNDED
from tocsin.meters.catalogue import CATALOGUE, Metric, MetricType

DESIGN = Path(__file__).parents[3] / "shared" / "DESIGN.md"
NAMES = [metric.name for metric in CATALOGUE]


def test_names_are_unique() -> None:
    assert sorted(set(NAMES)) == sorted(NAMES)


@pytest.mark.parametrize("metric", CATALOGUE, ids=NAMES)
def test_name_and_labels_are_prometheus_names(metric: Metric) -> None:
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in (metric.name, *metric.labels))
    assert not {"le", "quantile", "job", "instance"} & set(metric.labels)


@pytest.mark.parametrize("metric", CATALOGUE, ids=NAMES)
def test_counters_end_in_total_and_nothing_else_does(metric: Metric) -> None:
    assert (metric.type is MetricType.COUNTER) == metric.name.endswith("_total")


@pytest.mark.parametrize("metric", CATALOGUE, ids=NAMES)
def test_buckets_ascend_and_belong_to_histograms(metric: Metric) -> None:
    assert sorted(set(metric.buckets)) == list(metric.buckets)
    assert (metric.type is MetricType.HISTOGRAM) == bool(metric.buckets)


@pytest.mark.parametrize("metric", CATALOGUE, ids=NAMES)
def test_help_is_one_sentence_or_more(metric: Metric) -> None:
    assert metric.help[0].isupper()
    assert metric.help.endswith((".", "report."))


def test_labels_without_a_limit_are_our_own() -> None:
    used = {label for metric in CATALOGUE for label in metric.labels}

    assert BOUNDED <= used


# --- the design's table -------------------------------------------------------------------


def design_rows() -> dict[str, tuple[str, str]]:
    """Metric -> its type and its labels, as DESIGN.md's table writes them."""
    if not DESIGN.exists():
        return {}
    section = DESIGN.read_text("utf-8").partition("\n## Metrics")[2].partition("\n## ")[0]
    rows: dict[str, tuple[str, str]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 3 or not cells[0].startswith("agent_"):
            continue
        first = ""
        for name in cells[0].split(", "):
            if name.startswith("…"):  # "…_tokens_max": the end that differs
                ending = name.removeprefix("…")
                name = first[: first.index("_cost_dollars")] + ending
            first = first or name
            rows[name] = (cells[1], re.sub(r" \([^)]*\)", "", cells[2]))
    return rows


ROWS = design_rows()
ADDED = {
    "agent_budget_events_total",
    "agent_budget_forecast_dollars",
    "agent_budget_leased_dollars",
    "agent_budget_unpriced_calls_total",
    "agent_quality_signals_total",
    "agent_tool_undated_results_total",
}
"""Metrics that the design leaves the naming of to whoever needs them."""
needs_design = pytest.mark.skipif(not ROWS, reason=f"the design is not here ({DESIGN})")


@needs_design
@pytest.mark.parametrize(
    "metric",
    [m for m in CATALOGUE if m.name.startswith("agent_") and m.name not in ADDED],
    ids=lambda metric: metric.name,
)
def test_metric_is_in_the_design_with_the_same_type_and_labels(metric: Metric) -> None:
    kind, labels = ROWS[metric.name]

    assert kind.startswith(metric.type.value)
    assert tuple(labels.split(", ")) == metric.labels


@needs_design
@pytest.mark.parametrize(
    "metric", [metric for metric in CATALOGUE if metric.buckets], ids=lambda metric: metric.name
)
def test_buckets_are_the_designs(metric: Metric) -> None:
    said = ROWS[metric.name][0].removeprefix("histogram").strip()
    match said:
        case "":
            return
        case "4^4…4^11":
            assert tuple(4**n for n in range(4, 12)) == metric.buckets
        case _ if "…" in said:
            edges, _, within = said.partition(", with ")
            low, high = edges.split("…")
            assert (float(low), float(high)) == (metric.buckets[0], metric.buckets[-1])
            assert not within or float(within) in metric.buckets
        case _:
            assert tuple(map(float, said.split())) == metric.buckets


def test_catalogue_lists_what_operations_need_of_ourselves() -> None:
    assert {"tocsin_events_dropped_total", "tocsin_internal_errors_total"} <= set(NAMES)
