from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS
from tests.fakes.counts import Page
from tests.fakes.spans import call, run, seen, span
from tocsin.meters import catalogue as m
from tocsin.meters.cardinality import OTHER
from tocsin.meters.catalogue import Metric
from tocsin.meters.record import Recorder
from tocsin.meters.registry import Labels, Registry
from tocsin.model.finding import Signal
from tocsin.model.run import Breach, Outcome
from tocsin.model.span import Cost, ErrorClass, Kind, Observation, Result, Usage

USAGE = Usage(100, 20, 60, 10, 5)
COST = Cost(*map(Decimal, ("0.1", "0.2", "0.03", "0.04")))


def recorded(*observations: Observation) -> Registry:
    registry = Registry()
    recorder = Recorder(registry)
    for observation in observations:
        recorder.span_ended(observation)
    return registry


def values(registry: Registry, metric: Metric) -> dict[Labels, float]:
    return next((f.values for f in registry.collect() if f.metric is metric), {})


def page(registry: Registry) -> Page:
    return Page(registry.collect())


# --- error-like counters begin at 0 -------------------------------------------------------

GOOD_CALL = seen(call("gpt-4o", USAGE), provider="openai", cost=COST)


def begin_with(recorder: Recorder, limits: dict[str, list[str]]) -> None:
    """Begin a run of w where workflows have limits."""
    for workflow, names in limits.items():
        recorder.watch_limits(workflow, names)
    recorder.run_started(run())


ZEROES: list[tuple[Metric, Callable[[Recorder], None], set[Labels]]] = [
    (
        m.LLM_ERRORS,
        lambda r: r.span_ended(GOOD_CALL),
        {("openai", "gpt-4o", "w", error) for error in ErrorClass},
    ),
    (m.USAGE_MISSING, lambda r: r.span_ended(GOOD_CALL), {("gpt-4o", "w")}),
    (m.UNPRICED_TOKENS, lambda r: r.span_ended(GOOD_CALL), {("gpt-4o", "w")}),
    (m.QUALITY_SIGNALS, lambda r: r.run_started(run()), {(signal, "w") for signal in Signal}),
    (m.STALE_RESULTS, lambda r: r.work_started(Kind.TOOL, "t", "w"), {("t", "w")}),
    (m.STALE_RESULTS, lambda r: r.span_ended(seen(span(Kind.TOOL))), {("n", "w")}),
    (m.UNDATED_RESULTS, lambda r: r.span_ended(seen(span(Kind.TOOL), dated=True)), {("n", "w")}),
    (m.TOOL_ERRORS, lambda r: r.work_started(Kind.TOOL, "t", "w"), {("t", "w")}),
    (m.TOOL_RETRIES, lambda r: r.work_started(Kind.TOOL, "t", "w"), {("t", "w")}),
    (m.TOOL_ERRORS, lambda r: r.span_ended(seen(span(Kind.TOOL, name="t"))), {("t", "w")}),
    (m.TOOL_RETRIES, lambda r: r.span_ended(seen(span(Kind.TOOL, name="t"))), {("t", "w")}),
    (
        m.HANDOFF_ERRORS,
        lambda r: r.span_ended(seen(span(Kind.HANDOFF, from_agent="a", to_agent="b"))),
        {("a", "b", "w")},
    ),
    (
        m.GUARDRAIL_TRIGGERED,
        lambda r: r.span_ended(seen(span(Kind.GUARDRAIL, name="g"))),
        {("g", "w")},
    ),
    (m.RUNS, lambda r: r.run_started(run()), {("w", outcome) for outcome in Outcome}),
    (
        m.SLA_BREACHES,
        lambda r: r.watch_limits("w", ["latency", "cost"]),
        {("w", "latency", "alert"), ("w", "cost", "alert")},
    ),
    (
        m.SLA_BREACHES,
        lambda r: begin_with(r, {"*": ["latency", "cost"]}),
        {("w", "latency", "alert"), ("w", "cost", "alert")},
    ),
    (
        m.SLA_BREACHES,
        lambda r: begin_with(r, {"*": ["latency"], "w": ["turns"]}),
        {("w", "turns", "alert")},
    ),
]


@pytest.mark.parametrize(
    ("metric", "first", "expected"),
    [pytest.param(*row, id=f"{n}-{row[0].name}") for n, row in enumerate(ZEROES)],
)
def test_error_counter_exists_at_0_before_the_first_error(
    metric: Metric, first: Callable[[Recorder], None], expected: set[Labels]
) -> None:
    registry = Registry()
    first(Recorder(registry))

    assert dict.fromkeys(expected, 0.0) == values(registry, metric)


# --- calls --------------------------------------------------------------------------------


def test_priced_call_is_counted_in_all_its_parts() -> None:
    found = page(recorded(GOOD_CALL, GOOD_CALL))

    assert (2, 2.0) == found.observed("agent_llm_call_duration_seconds")
    assert 2 == found.total("agent_llm_calls_total", provider="openai", model="gpt-4o")
    assert {"input": 200, "output": 40} == found.by("agent_tokens_total", "direction")
    assert {"cache_read": 120, "cache_write": 20, "reasoning": 10} == found.by(
        "agent_token_details_total", "detail"
    )
    assert {"input": 0.2, "output": 0.4, "cache_read": 0.06, "cache_write": 0.08} == found.by(
        "agent_cost_dollars_total", "cost_type"
    )
    assert 0 == found.total("agent_usage_missing_total") + found.total(
        "agent_unpriced_tokens_total"
    )


CALLS = [
    # call, cost, errors by class, calls without usage, unpriced tokens
    (call("m", USAGE), None, {}, 0, 120),
    (call("m", None), None, {}, 1, 0),
    (call("m", None, error=ErrorClass.RATE_LIMIT), None, {"rate_limit": 1}, 0, 0),
    (call("m", None, error=ErrorClass.CANCELLED), None, {"cancelled": 1}, 1, 0),
    (call("m", USAGE, error=ErrorClass.SERVER_ERROR), COST, {"server_error": 1}, 0, 0),
]


@pytest.mark.parametrize(("found", "cost", "errors", "missing", "unpriced"), CALLS)
def test_unknown_is_counted_and_never_zero(
    found: Observation, cost: Cost | None, errors: dict[str, int], missing: int, unpriced: int
) -> None:
    counted = page(recorded(seen(found, cost=cost)))  # type: ignore[arg-type]

    assert (errors, missing, unpriced) == (
        counted.by("agent_llm_errors_total", "error"),
        counted.total("agent_usage_missing_total"),
        counted.total("agent_unpriced_tokens_total"),
    )


def test_unpriced_call_has_no_cost_series() -> None:
    assert {} == values(recorded(seen(call("m", USAGE))), m.COST)


def test_call_without_usage_has_no_token_series() -> None:
    assert {} == values(recorded(seen(call("m", None))), m.TOKENS)


def test_nameless_model_and_provider_are_unknown() -> None:
    assert {("unknown", "unknown", "w"): 1} == values(recorded(seen(call(None, None))), m.LLM_CALLS)


def test_rollup_adds_tokens_but_no_call() -> None:
    found = page(recorded(seen(call("m", USAGE, calls=0))))

    assert (0, 120, (0, 0.0)) == (
        found.total("agent_llm_calls_total"),
        found.total("agent_tokens_total"),
        found.observed("agent_llm_call_duration_seconds"),
    )


@pytest.mark.parametrize(
    ("first_token_s", "expected"), [(None, (0, 0.0)), (0.0, (1, 0.0)), (0.3, (1, 0.3))]
)
def test_first_token_is_observed_where_it_was_seen(
    first_token_s: float | None, expected: tuple[int, float]
) -> None:
    found = page(recorded(seen(call("m", None, first_token_s=first_token_s))))

    assert expected == found.observed("agent_llm_time_to_first_token_seconds")


# --- tools, handoffs, guardrails ----------------------------------------------------------

TOOLS = [
    (None, False, 0, 0),
    (ErrorClass.OTHER, False, 1, 0),
    (ErrorClass.TIMEOUT, True, 1, 1),
    (ErrorClass.CANCELLED, False, 0, 0),
    (None, True, 0, 1),
]


@pytest.mark.parametrize(("error", "retry", "errors", "retries"), TOOLS)
def test_tool(error: ErrorClass | None, retry: bool, errors: int, retries: int) -> None:
    found = page(recorded(seen(span(Kind.TOOL, name="t", error=error), retry=retry)))

    assert (1, errors, retries) == (
        found.observed("agent_tool_duration_seconds")[0],
        found.total("agent_tool_errors_total", tool="t"),
        found.total("agent_tool_retries_total", tool="t"),
    )


@pytest.mark.parametrize(("error", "errors"), [(None, 0), (ErrorClass.OTHER, 1)])
def test_handoff(error: ErrorClass | None, errors: int) -> None:
    found = page(recorded(seen(span(Kind.HANDOFF, error=error, from_agent="a"))))

    assert (1, errors) == (
        found.total("agent_handoffs_total", from_agent="a", to_agent="unknown"),
        found.total("agent_handoff_errors_total"),
    )


@pytest.mark.parametrize("triggered", [False, True])
def test_guardrail(triggered: bool) -> None:
    found = page(recorded(seen(span(Kind.GUARDRAIL, name="g", triggered=triggered))))

    assert (1, int(triggered)) == (
        found.total("agent_guardrail_checks_total"),
        found.total("agent_guardrail_triggered_total"),
    )


@pytest.mark.parametrize("kind", [Kind.RUN, Kind.STEP, Kind.AGENT, Kind.OTHER])
def test_structure_is_not_work(kind: Kind) -> None:
    assert [] == recorded(seen(span(kind))).collect()


# --- runs ---------------------------------------------------------------------------------


def ended(**fields: Any) -> Page:
    registry = Registry()
    Recorder(registry).run_ended(run(lasts_s=2, **fields), None)
    return page(registry)


def test_run_is_counted_by_outcome() -> None:
    found = ended(outcome=Outcome.GUARDRAIL, turns=3, input_tokens=10, output_tokens=5)

    assert (1, (1, 2.0), (1, 3.0), (1, 15.0)) == (
        found.total("agent_workflow_runs_total", outcome="guardrail"),
        found.observed("agent_workflow_duration_seconds"),
        found.observed("agent_workflow_turns"),
        found.observed("agent_workflow_tokens"),
    )


def test_run_without_an_outcome_is_unknown() -> None:
    assert 1 == ended().total("agent_workflow_runs_total", outcome="unknown")


def test_unknown_tokens_and_cost_are_not_observed_as_0() -> None:
    found = ended(usage_missing=1, unpriced_calls=1)

    assert [(0, 0.0)] * 2 == [
        found.observed(name) for name in ("agent_workflow_tokens", "agent_workflow_cost_dollars")
    ]


def test_free_run_is_observed_as_0() -> None:
    assert (1, 0.0) == ended(priced_calls=1).observed("agent_workflow_cost_dollars")


def test_conversation_is_observed_where_there_is_one() -> None:
    registry = Registry()
    for turns in (None, 4):
        Recorder(registry).run_ended(run(lasts_s=1), turns)

    assert (1, 4.0) == page(registry).observed("agent_conversation_turns")


def test_breach_is_counted_by_limit() -> None:
    registry = Registry()
    breach = Breach(
        run_id="r",
        trace_id="t",
        workflow="w",
        limit="cost",
        value=2,
        threshold=1,
        severity="info",
        in_flight=True,
    )
    Recorder(registry).breached(breach)

    assert {("w", "cost", "alert"): 1} == values(registry, m.SLA_BREACHES)


# --- gauges -------------------------------------------------------------------------------


def gauges(registry: Registry) -> dict[str, dict[Labels, float]]:
    return {
        name: values(registry, metric)
        for name, metric in {
            "active": m.ACTIVE_RUNS,
            "oldest": m.OLDEST_RUN,
            "cost": m.ACTIVE_COST_MAX,
            "tokens": m.ACTIVE_TOKENS_MAX,
        }.items()
    }


def test_gauges_show_the_oldest_and_the_dearest_run() -> None:
    registry = Registry()
    runs = [
        run("a", started_ns=NOON_NS, cost_usd=Decimal("0.5"), input_tokens=10),
        run("b", started_ns=NOON_NS - 10**9, cost_usd=Decimal("0.2"), input_tokens=90),
    ]
    Recorder(registry).gauge_runs(runs)

    assert {
        "active": {("w",): 2},
        "oldest": {("w",): NOON_NS / 1e9 - 1},
        "cost": {("w",): 0.5},
        "tokens": {("w",): 90},
    } == gauges(registry)


def test_gauges_fall_to_0_when_a_workflow_is_idle() -> None:
    registry = Registry()
    recorder = Recorder(registry)
    recorder.gauge_runs([run(cost_usd=Decimal(1), input_tokens=5)])
    recorder.gauge_runs([])

    assert [{("w",): 0.0}] * 4 == list(gauges(registry).values())


def test_runs_that_were_over_before_anybody_looked_have_gauges() -> None:
    registry = Registry()
    recorder = Recorder(registry)
    recorder.run_ended(run(ended_ns=NOON_NS, outcome=Outcome.OK), None)
    recorder.gauge_runs([])

    assert [{("w",): 0.0}] * 4 == list(gauges(registry).values())


def test_workflows_beyond_the_limit_share_one_gauge() -> None:
    registry = Registry()
    recorder = Recorder(registry)
    runs = [run(str(n), workflow=f"w{n}", input_tokens=n) for n in range(300)]
    for _ in range(2):
        recorder.gauge_runs(runs)
    found = gauges(registry)

    assert (201, 100, 299) == (
        len(found["active"]),
        found["active"][(OTHER,)],
        found["tokens"][(OTHER,)],
    )


def test_thirty_thousand_workflows_take_bounded_room_and_lose_no_run() -> None:
    registry = Registry()
    recorder = Recorder(registry)
    for n in range(30_000):
        recorder.run_ended(run(workflow=f"w{n}", lasts_s=1, outcome=Outcome.OK), None)
    found = page(registry)

    assert (201, 30_000, (30_000, 30_000.0)) == (
        len(values(registry, m.RUNS)),
        found.total("agent_workflow_runs_total"),
        found.observed("agent_workflow_duration_seconds"),
    )
    assert 3 * (30_000 - 200) == found.total("tocsin_label_overflows_total", label="workflow")


# --- freshness of tool results -------------------------------------------------------------


def test_newest_data_never_goes_back() -> None:
    results = [Result(1, 1, 1, data_ns) for data_ns in (5 * 10**9, 9 * 10**9, 7 * 10**9, None)]
    registry = recorded(*(seen(span(Kind.TOOL, result=r), dated=True) for r in results))

    assert {("n",): 9.0} == values(registry, m.NEWEST_DATA)


def test_results_without_a_known_place_for_their_time_are_not_undated() -> None:
    assert {} == values(recorded(seen(span(Kind.TOOL))), m.UNDATED_RESULTS)
    assert {("n", "w"): 1} == values(
        recorded(seen(span(Kind.TOOL), dated=False)), m.UNDATED_RESULTS
    )
