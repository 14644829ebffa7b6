import threading
from decimal import Decimal
from math import inf

import pytest

from tocsin.meters import catalogue as m
from tocsin.meters.cardinality import MAX_COMBINATIONS, OTHER, CardinalityGuard
from tocsin.meters.catalogue import Metric
from tocsin.meters.registry import Distribution, Family, Labels, Registry
from tocsin.model.span import ErrorClass

W = ("w",)


def family(registry: Registry, metric: Metric) -> Family:
    return next(found for found in registry.collect() if found.metric is metric)


def values(registry: Registry, metric: Metric) -> dict[Labels, float]:
    return family(registry, metric).values


def test_new_registry_shows_nothing() -> None:
    assert [] == Registry().collect()


def test_counter_adds_up() -> None:
    registry = Registry()
    for amount in (0, 1, 2.5):
        registry.add(m.LATE_SPANS, (), amount)

    assert {(): 3.5} == values(registry, m.LATE_SPANS)


def test_adding_0_creates_a_series() -> None:
    registry = Registry()
    registry.add(m.LATE_SPANS, (), 0)

    assert {(): 0.0} == values(registry, m.LATE_SPANS)


def test_gauge_keeps_its_last_value() -> None:
    registry = Registry()
    for value in (5, 3):
        registry.set(m.ACTIVE_RUNS, W, value)

    assert {W: 3.0} == values(registry, m.ACTIVE_RUNS)


def test_million_tenths_of_a_cent_are_exactly_a_thousand_dollars() -> None:
    registry = Registry()
    labels, amount = ("gpt-4o", "w", "input"), Decimal("0.001")
    for _ in range(1_000_000):
        registry.add(m.COST, labels, amount)

    assert {labels: 1000.0} == values(registry, m.COST)
    assert 1000.0 != sum([0.001] * 1_000_000)


def test_shown_values_are_floats() -> None:
    registry = Registry()
    registry.add(m.COST, ("m", "w", "input"), Decimal("0.1"))
    registry.add(m.TOKENS, ("m", "input", "w"), 7)

    assert [float, float] == [
        type(value) for metric in (m.COST, m.TOKENS) for value in values(registry, metric).values()
    ]


EDGES = [
    *((bound, n) for n, bound in enumerate(m.RUN_DURATION.buckets)),
    *((bound + 1e-9, n + 1) for n, bound in enumerate(m.RUN_DURATION.buckets)),
    (0, 0),
    (-1, 0),
    (inf, len(m.RUN_DURATION.buckets)),
]


@pytest.mark.parametrize(("value", "bucket"), EDGES)
def test_value_at_a_bound_falls_into_that_bucket(value: float, bucket: int) -> None:
    registry = Registry()
    registry.observe(m.RUN_DURATION, W, value)
    counts = family(registry, m.RUN_DURATION).distributions[W].counts

    assert [int(n == bucket) for n in range(len(m.RUN_DURATION.buckets) + 1)] == counts


def test_histogram_adds_up() -> None:
    registry = Registry()
    for value in (1, 1, 5000):
        registry.observe(m.RUN_DURATION, W, value)
    found = family(registry, m.RUN_DURATION).distributions[W]

    assert Distribution([0, 2, *[0] * 9, 1], 5002.0) == found


def test_what_was_collected_does_not_change_afterwards() -> None:
    registry = Registry()
    registry.observe(m.RUN_DURATION, W, 1)
    registry.add(m.LATE_SPANS, ())
    before = registry.collect()
    registry.observe(m.RUN_DURATION, W, 1)
    registry.add(m.LATE_SPANS, ())

    distributions = [sum(d.counts) for f in before for d in f.distributions.values()]
    assert ([1], [1.0]) == (distributions, [v for f in before for v in f.values.values()])


def test_families_come_in_the_order_of_their_names() -> None:
    registry = Registry()
    for metric in reversed(m.CATALOGUE[-5:]):
        registry.set(metric, ("x",) * len(metric.labels), 1)
    names = [found.metric.name for found in registry.collect()]

    assert sorted(names) == names


def test_folded_names_are_counted_and_shown() -> None:
    registry = Registry(CardinalityGuard(1))
    for name in "abc":
        registry.add(m.USAGE_MISSING, ("gpt-4o", name))

    assert {("gpt-4o", "a"): 1, ("gpt-4o", OTHER): 2} == values(registry, m.USAGE_MISSING)
    assert {("workflow",): 2} == values(registry, m.LABEL_OVERFLOWS)


def test_workflow_is_named_everywhere_or_folded_everywhere() -> None:
    registry = Registry(CardinalityGuard(1))
    for name in ("first", "second"):
        registry.add(m.RUNS, (name, "ok"))
        registry.observe(m.RUN_DURATION, (name,), 1)
        registry.set(m.ACTIVE_RUNS, (name,), 1)

    found = [
        {labels[0] for labels in (family(registry, metric).values or distributions)}
        for metric in (m.RUNS, m.RUN_DURATION, m.ACTIVE_RUNS)
        for distributions in [family(registry, metric).distributions]
    ]
    assert [{"first", OTHER}] * 3 == found


def test_combinations_of_labels_are_limited_too() -> None:
    registry = Registry()
    for n in range(MAX_COMBINATIONS + 500):
        registry.add(m.TOOL_ERRORS, (f"t{n % 150}", f"w{n // 150}"))
    found = values(registry, m.TOOL_ERRORS)

    assert (MAX_COMBINATIONS + 1, 500) == (len(found), found[OTHER, OTHER])
    assert MAX_COMBINATIONS + 500 == sum(found.values())
    assert {("tool",): 500, ("workflow",): 500} == values(registry, m.LABEL_OVERFLOWS)


def test_errors_have_room_wherever_their_calls_have() -> None:
    registry = Registry()
    for n in range(MAX_COMBINATIONS + 100):
        labels = ("p", f"m{n % 150}", f"w{n // 150}")
        registry.add(m.LLM_CALLS, labels)
        for error in ErrorClass:
            registry.add(m.LLM_ERRORS, (*labels, error), 0)
    calls, errors = values(registry, m.LLM_CALLS), values(registry, m.LLM_ERRORS)

    assert set(calls) == {labels[:3] for labels in errors}
    assert len(errors) == len(calls) * len(ErrorClass)


def test_closed_sets_keep_their_sums_when_there_is_no_room_for_more() -> None:
    registry = Registry()
    for n in range(MAX_COMBINATIONS):
        registry.add(m.LLM_ERRORS, ("p", f"m{n % 150}", f"w{n // 150}", "timeout"))
    registry.add(m.LLM_ERRORS, ("p", "m0", "w199", "rate_limit"), 7)

    assert 7 == values(registry, m.LLM_ERRORS)[OTHER, OTHER, OTHER, "rate_limit"]


def test_known_series_go_on_when_there_is_no_room_for_more() -> None:
    registry = Registry()
    for n in range(MAX_COMBINATIONS + 1):
        registry.add(m.TOOL_ERRORS, (f"t{n % 150}", f"w{n // 150}"))
    registry.add(m.TOOL_ERRORS, ("t0", "w0"))

    assert 2 == values(registry, m.TOOL_ERRORS)["t0", "w0"]


def test_fold_tells_where_an_update_would_go_without_counting_it() -> None:
    registry = Registry(CardinalityGuard(0))

    assert (OTHER,) == registry.fold(m.ACTIVE_RUNS, W)
    assert [] == registry.collect()


def test_readers_see_updates_whole() -> None:
    registry = Registry()
    stop = threading.Event()

    def update() -> None:
        while not stop.is_set():
            with registry.updating():
                registry.add(m.LLM_CALLS, ("p", "m", "w"))
                registry.observe(m.LLM_DURATION, ("m", "w"), 1)

    writer = threading.Thread(target=update)
    writer.start()
    torn = 0
    for _ in range(300):
        page = registry.collect()
        calls = [v for f in page if f.metric is m.LLM_CALLS for v in f.values.values()]
        times = [sum(d.counts) for f in page for d in f.distributions.values()]
        torn += calls != times
    stop.set()
    writer.join()

    assert 0 == torn


def test_forked_child_starts_from_nothing() -> None:
    registry = Registry(CardinalityGuard(1))
    for name in "ab":
        registry.add(m.RUNS, (name, "ok"))
        registry.observe(m.RUN_DURATION, (name,), 1)
    registry.reset_after_fork()

    assert [] == registry.collect()


def test_asking_for_a_series_makes_none() -> None:
    registry = Registry()

    assert not registry.has(m.LATE_SPANS, ())
    assert [] == registry.collect()


def test_a_folded_series_is_not_had_by_its_own_name() -> None:
    registry = Registry(CardinalityGuard(max_values=0))
    registry.add(m.RUNS, ("w", "ok"), 0)

    assert not registry.has(m.RUNS, ("w", "ok"))
    assert registry.has(m.RUNS, (OTHER, "ok"))


def test_a_gauge_that_is_not_known_any_more_has_no_series() -> None:
    registry = Registry()
    registry.set(m.BUDGET_SPENT, ("team",), 5)
    registry.set(m.BUDGET_SPENT, ("team",), None)
    registry.set(m.BUDGET_SPENT, ("other",), None)

    assert [] == registry.labels_of(m.BUDGET_SPENT)
