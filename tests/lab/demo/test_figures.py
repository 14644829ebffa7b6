import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.lab.demo.figures import (
    Snapshot,
    failed_calls,
    flow_figures,
    model_figures,
    quantile,
)
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Registry

BOUNDS = (1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("expected", "counts", "q"),
    [
        (None, [0, 0, 0, 0], 0.5),
        (None, [], 0.5),
        (0.5, [4, 0, 0, 0], 0.5),
        (1.5, [0, 4, 0, 0], 0.5),
        (1.0, [2, 0, 2, 0], 0.5),
        (3.5, [2, 0, 2, 0], 0.75),
        (5.0, [1, 0, 0, 9], 0.95),
        (5.0, [0, 0, 4, 0], 1.0),
    ],
)
def test_quantile(expected: float | None, counts: list[int], q: float) -> None:
    assert expected == quantile(BOUNDS, counts, q)


@given(st.lists(st.floats(0.01, 5.0), min_size=1), st.floats(0.01, 0.99))
def test_quantile_is_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    counts = [0, 0, 0, 0]
    for value in values:
        counts[next(i for i, bound in enumerate((*BOUNDS, math.inf)) if value <= bound)] += 1
    true = sorted(values)[math.ceil(q * len(values)) - 1]
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < true), default=0.0)
    upper = min(bound for bound in BOUNDS if bound >= true)

    estimated = quantile(BOUNDS, counts, q)

    assert estimated is not None
    assert lower <= estimated <= upper


def test_flow(now: Snapshot) -> None:
    flow = flow_figures(now, "w", wall_s=1000.0)

    assert (10, 0.2, 0.125) == (flow.runs, flow.error_rate, flow.guardrail_rate)
    assert (8623, False) == (flow.tokens, flow.tokens_partial)
    assert pytest.approx(0.035) == flow.cost_usd
    assert flow.cost_partial
    assert (2, 10.0) == (flow.active, flow.oldest_s)
    assert pytest.approx((1.5, 4.25)) == (flow.p50_s, flow.p95_s)
    assert pytest.approx(0.005) == flow.cost_per_success_usd


def test_unknown_is_none_and_never_zero() -> None:
    flow = flow_figures(Snapshot([]), "w", wall_s=1000.0)

    figures = (
        flow.p50_s,
        flow.p95_s,
        flow.error_rate,
        flow.guardrail_rate,
        flow.tokens,
        flow.cost_usd,
        flow.cost_per_success_usd,
        flow.oldest_s,
    )
    assert {None} == set(figures)


def test_cancelled_calls_did_not_fail(now: Snapshot) -> None:
    assert pytest.approx(0.08) == failed_calls(now)


def test_models_by_use(now: Snapshot) -> None:
    gpt, acme = model_figures(now)

    assert ("gpt", 20, 0.1) == (gpt.model, gpt.calls, gpt.error_rate)
    assert pytest.approx(0.035) == gpt.cost_usd
    assert ("acme", 5, 0.0, None) == (acme.model, acme.calls, acme.error_rate, acme.cost_usd)


def test_calls_without_usage_make_sums_partial() -> None:
    registry = Registry()
    registry.add(m.TOKENS, ("gpt", "input", "w"), 10)
    registry.add(m.USAGE_MISSING, ("gpt", "w"), 1)

    flow = flow_figures(Snapshot(registry.collect()), "w", wall_s=0.0)

    assert flow.tokens_partial
    assert flow.cost_partial


def test_workflows_are_kept_apart(registry: Registry) -> None:
    registry.add(m.TOKENS, ("gpt", "input", "other"), 7)

    assert 7 == flow_figures(Snapshot(registry.collect()), "other", wall_s=0.0).tokens
