import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.app.merge import exact_sum, fold, merge
from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import Metric
from tocsin.meters.registry import Distribution, Family, Labels

W: Labels = ("w",)
NO_LABELS: Labels = ()


def numbers(metric: Metric, values: dict[Labels, float]) -> Family:
    return Family(metric, values, {})


def merged(metric: Metric, *values: Mapping[Labels, float], dead: int = 0) -> dict[Labels, float]:
    """Merge processes' values; the last `dead` of them belong to processes that are gone."""
    groups = [
        ([numbers(metric, dict(found))], n < len(values) - dead) for n, found in enumerate(values)
    ]
    return next((family.values for family in merge(groups)), {})


GAUGES = [
    (m.ACTIVE_RUNS, (2, 3), 5),
    (m.ACTIVE_COST_MAX, (0.2, 0.5), 0.5),
    (m.ACTIVE_TOKENS_MAX, (900, 5), 900),
    (m.OLDEST_RUN, (1700.0, 1500.0), 1500.0),
    (m.OLDEST_RUN, (0.0, 1500.0), 1500.0),
    (m.OLDEST_RUN, (1500.0, 0.0), 1500.0),
    (m.OLDEST_RUN, (0.0, 0.0), 0.0),
    (m.OLDEST_RUN, (0.0, 1700.0, 0.0, 1600.0), 1600.0),
]


@pytest.mark.parametrize(("metric", "values", "expected"), GAUGES)
def test_gauges_are_joined_as_each_needs(
    metric: Metric, values: tuple[float, ...], expected: float
) -> None:
    assert {W: expected} == merged(metric, *[{W: value} for value in values])


def test_gauges_of_processes_that_are_gone_do_not_count() -> None:
    assert {W: 2} == merged(m.ACTIVE_RUNS, {W: 2}, {W: 3}, dead=1)


def test_counters_of_processes_that_are_gone_still_count() -> None:
    labels = ("m", "w")

    assert {labels: 5} == merged(m.USAGE_MISSING, {labels: 2}, {labels: 3}, dead=1)


def test_series_of_different_processes_stand_side_by_side() -> None:
    assert {("a",): 1, ("b",): 2, ("c",): 5} == merged(
        m.ACTIVE_RUNS, {("a",): 1, ("c",): 2}, {("b",): 2, ("c",): 3}
    )


def test_histograms_add_up_bucket_by_bucket() -> None:
    size = len(m.RUN_TOKENS.buckets) + 1
    families = [
        Family(m.RUN_TOKENS, {}, {W: Distribution([n] * size, float(n))}) for n in (1, 2, 3)
    ]
    (found,) = merge([([family], False) for family in families])

    assert {W: Distribution([6] * size, 6.0)} == found.distributions


def test_merging_leaves_what_was_merged_as_it_was() -> None:
    own = Family(m.RUN_TOKENS, {}, {W: Distribution([1] * 9, 1.0)})
    merge([([own], True), ([own], True)])

    assert {W: Distribution([1] * 9, 1.0)} == own.distributions


def test_nobody_has_nothing() -> None:
    assert [] == merge([])


# --- exactness ----------------------------------------------------------------------------

amounts = st.lists(st.floats(0, 1e12), max_size=20)


@given(amounts)
def test_exact_sum_is_exact(values: list[float]) -> None:
    parts = exact_sum(values)

    assert sum(map(Fraction, values)) == sum(map(Fraction, parts))
    assert len(parts) <= max(1, len(values))


@given(amounts.filter(bool), st.integers())
def test_order_of_processes_changes_nothing(values: list[float], seed: int) -> None:
    shuffled = random.Random(seed).sample(values, len(values))
    found = [merged(m.LATE_SPANS, *[{NO_LABELS: v} for v in order]) for order in (values, shuffled)]

    assert found[0] == found[1]


@given(amounts.filter(bool), st.integers(0, 20), amounts)
def test_folding_changes_no_sum(values: list[float], split: int, more: list[float]) -> None:
    def groups(amounts: list[float]) -> list[list[Family]]:
        spread = {W: Distribution([1] * 9, 0.0)}
        return [
            [
                Family(m.COST, {("m", "w", "input"): amount}, {}),
                Family(
                    m.RUN_TOKENS, {}, {W: Distribution([1] * 9, amount) if amount else spread[W]}
                ),
            ]
            for amount in amounts
        ]

    def total(found: list[list[Family]]) -> list[Family]:
        return merge([(group, False) for group in found])

    folded = fold(groups(values[:split]))
    folded = fold([*folded, *groups(values[split:])])

    assert total(groups(values + more)) == total([*folded, *groups(more)])


def test_folding_keeps_no_gauges() -> None:
    assert [] == merge([(group, True) for group in fold([[numbers(m.ACTIVE_RUNS, {W: 3})]])])
