from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.fakes.clock import NS
from tests.fakes.spans import call, run, span, start
from tocsin.errors import ConfigError
from tocsin.model.run import Breach, Run
from tocsin.model.span import Kind, Usage
from tocsin.runs.limits import LIMITS, SlaWatch, WorkflowSLA


def watch(sla: WorkflowSLA, *runs: Run) -> SlaWatch:
    found = SlaWatch()
    found.add({"w": sla})
    for one in runs:
        found.started(one)
    return found


def limits(breaches: list[Breach]) -> list[str]:
    return [breach.limit for breach in breaches]


NOT_A_LIMIT = "is not a limit; write a number above 0, or None"
MISTAKES: list[tuple[dict[str, Any], str]] = [
    *[
        ({field: bad}, f"{field}: {bad!r} {NOT_A_LIMIT}")
        for field in LIMITS.values()
        for bad in (0, -1, True, "15s", float("nan"), float("inf"), 10**400, [1])
    ],
    *[
        ({"max_cost_per_request": Decimal(bad)}, f"max_cost_per_request: {Decimal(bad)!r} ")
        for bad in ("0", "-1", "NaN", "sNaN", "Infinity")
    ],
    ({"severity": "bad"}, "severity: 'bad' is not one of info, warning, error, critical"),
    ({"severity": None}, "severity: None is not one of info, warning, error, critical"),
    ({"severity": ["info"]}, "severity: ['info'] is not one of info, warning, error, critical"),
    (
        {"max_turns": 0, "max_latency_seconds": -1, "severity": "x"},
        f"WorkflowSLA: max_latency_seconds: -1 {NOT_A_LIMIT}; max_turns: 0 {NOT_A_LIMIT}; "
        "severity: 'x' is not one of info, warning, error, critical",
    ),
]


@pytest.mark.parametrize(("fields", "expected"), MISTAKES)
def test_mistake_is_named(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WorkflowSLA(**fields)

    assert expected in str(caught.value)


@pytest.mark.parametrize("number", [1, 0.5, 1e300, 10**300, Decimal("0.25")])
@pytest.mark.parametrize("field", LIMITS.values())
def test_any_positive_number_is_a_limit_that_can_be_watched(field: str, number: Any) -> None:
    sla = WorkflowSLA(**{field: number})
    found = watch(sla, run())

    assert [] == found.sweep(0)


PROGRESS = [
    # limit, SLA, run so far, span that ended, broken
    ("tokens", {"max_tokens_per_request": 100}, {"input_tokens": 90, "output_tokens": 10}, False),
    ("tokens", {"max_tokens_per_request": 100}, {"input_tokens": 90, "output_tokens": 11}, True),
    ("cost", {"max_cost_per_request": 0.3}, {"cost_usd": Decimal("0.3")}, False),
    ("cost", {"max_cost_per_request": 0.3}, {"cost_usd": Decimal("0.3000001")}, True),
    ("cost", {"max_cost_per_request": Decimal("0.3")}, {"cost_usd": Decimal("0.3")}, False),
    ("cost", {"max_cost_per_request": Decimal("0.3")}, {"cost_usd": Decimal("0.31")}, True),
    ("turns", {"max_turns": 3}, {"turns": 3}, False),
    ("turns", {"max_turns": 3}, {"turns": 4}, True),
]


@pytest.mark.parametrize(("limit", "sla", "so_far", "broken"), PROGRESS)
@pytest.mark.parametrize("kind", [Kind.LLM, Kind.STEP])
def test_limit_is_broken_by_more_than_it_while_the_run_goes_on(
    limit: str, sla: dict[str, Any], so_far: dict[str, Any], broken: bool, kind: Kind
) -> None:
    going = run(**so_far)
    breaches = watch(WorkflowSLA(**sla), going).progressed(going, span(kind))

    assert ([(limit, True)] if broken else []) == [(b.limit, b.in_flight) for b in breaches]


@pytest.mark.parametrize(("limit", "sla", "so_far", "broken"), PROGRESS)
def test_limit_is_checked_again_at_the_end(
    limit: str, sla: dict[str, Any], so_far: dict[str, Any], broken: bool
) -> None:
    ended = run(lasts_s=1, **so_far)
    breaches = watch(WorkflowSLA(**sla), ended).ended(ended)

    assert ([(limit, False)] if broken else []) == [(b.limit, b.in_flight) for b in breaches]


@pytest.mark.parametrize(("first_token_s", "expected"), [(None, 0), (2.0, 0), (2.1, 1)])
def test_first_token_is_checked_per_call(first_token_s: float | None, expected: int) -> None:
    going = run()
    found = watch(WorkflowSLA(max_first_token_seconds=2), going)

    assert expected == len(found.progressed(going, span(Kind.LLM, first_token_s=first_token_s)))


def test_breach_carries_what_a_person_needs() -> None:
    going = run(input_tokens=150)
    (found,) = watch(
        WorkflowSLA(max_tokens_per_request=100, severity="critical"), going
    ).progressed(going, span())

    assert found == Breach(
        run_id="r",
        trace_id="t",
        workflow="w",
        limit="tokens",
        value=150,
        threshold=100,
        severity="critical",
        in_flight=True,
    )


def test_each_limit_is_raised_once_per_run() -> None:
    going = run(input_tokens=150, turns=5)
    found = watch(
        WorkflowSLA(max_tokens_per_request=100, max_turns=4, max_latency_seconds=1), going
    )
    first = found.progressed(going, span())
    again = found.progressed(going, span())
    swept = found.sweep(2 * NS) + found.sweep(9 * NS)
    going.ended_ns = going.started_ns + 10 * NS

    assert [["tokens", "turns"], [], ["latency"], []] == [
        limits(breaches) for breaches in (first, again, swept, found.ended(going))
    ]


def test_each_run_raises_its_own() -> None:
    runs = [run(name, input_tokens=150) for name in "abc"]
    found = watch(WorkflowSLA(max_tokens_per_request=100), *runs)

    assert ["a", "b", "c"] == [found.progressed(one, span())[0].run_id for one in runs]


@pytest.mark.parametrize("kind", [Kind.TOOL, Kind.AGENT, Kind.HANDOFF, Kind.OTHER])
def test_other_spans_break_nothing(kind: Kind) -> None:
    going = run(input_tokens=150)

    assert [] == watch(WorkflowSLA(max_tokens_per_request=100), going).progressed(going, span(kind))


SWEEPS = [(14.9, []), (15, []), (15.001, ["latency"]), (3600, ["latency"])]


@pytest.mark.parametrize(("now_s", "expected"), SWEEPS)
def test_latency_of_a_silent_run_is_noticed_by_sweep(now_s: float, expected: list[str]) -> None:
    found = watch(WorkflowSLA(max_latency_seconds=15), run())

    assert expected == limits(found.sweep(int(now_s * NS)))


def test_fractions_of_a_second_count() -> None:
    found = watch(WorkflowSLA(max_latency_seconds=Decimal("0.25")), run())  # type: ignore[arg-type]

    assert ([], ["latency"]) == (
        limits(found.sweep(NS // 4)),
        limits(found.sweep(NS // 4 + 1)),
    )


def test_run_that_ended_in_time_is_no_breach_while_its_caller_is_awaited() -> None:
    ended = run(lasts_s=14.9)
    found = watch(WorkflowSLA(max_latency_seconds=15), ended)

    assert ([], []) == (found.sweep(16 * NS), found.ended(ended))


def test_run_that_ended_too_late_is_a_breach_though_no_sweep_came() -> None:
    ended = run(lasts_s=16)
    (breach,) = watch(WorkflowSLA(max_latency_seconds=15), ended).ended(ended)

    assert ("latency", 16.0, False) == (breach.limit, breach.value, breach.in_flight)


def test_ended_run_is_never_swept() -> None:
    ended = run(lasts_s=1)
    found = watch(WorkflowSLA(max_latency_seconds=15), ended)
    found.ended(ended)

    assert ([], []) == (found.sweep(99 * NS), found.ended(ended))


def test_runs_are_swept_in_the_order_of_their_deadlines() -> None:
    early, late = run("early"), run("late", started_mono_ns=5 * NS)
    found = watch(WorkflowSLA(max_latency_seconds=10), late, early)

    assert [["early"], ["late"]] == [
        [b.run_id for b in found.sweep(now_s * NS)] for now_s in (11, 16)
    ]


def test_workflow_without_an_sla_has_no_limits() -> None:
    other = run(workflow="other", input_tokens=10**9, lasts_s=10**6)
    found = watch(WorkflowSLA(max_tokens_per_request=1, max_latency_seconds=1), other)

    assert [] == found.progressed(other, span()) + found.sweep(10**18) + found.ended(other)


def test_star_holds_for_workflows_without_their_own() -> None:
    found = SlaWatch()
    found.add({"*": WorkflowSLA(max_turns=1), "w": WorkflowSLA(max_turns=5)})
    own, other = run("own", turns=3), run("other", workflow="x", turns=3)
    for one in (own, other):
        found.started(one)

    assert ([], ["turns"]) == (
        limits(found.progressed(own, span())),
        limits(found.progressed(other, span())),
    )


def test_replaced_sla_holds_for_runs_that_start_later() -> None:
    old, new = run("old", turns=3), run("new", turns=3)
    found = watch(WorkflowSLA(max_turns=5), old)
    found.add({"w": WorkflowSLA(max_turns=2)})
    found.started(new)

    assert ([], ["turns"]) == (
        limits(found.progressed(old, span())),
        limits(found.progressed(new, span())),
    )


def test_forgotten_runs_raise_nothing_and_the_levels_stay() -> None:
    old, new = run("old", turns=3), run("new", turns=3)
    found = watch(WorkflowSLA(max_turns=2, max_latency_seconds=1), old)
    found.forget()
    found.started(new)

    assert [] == found.progressed(old, span()) + found.ended(old)
    assert ["new"] == [breach.run_id for breach in found.sweep(99 * NS)]


def test_deadlines_of_ended_runs_take_no_room() -> None:
    found = watch(WorkflowSLA(max_latency_seconds=86_400))
    kept = run("kept")
    found.started(kept)
    for n in range(20_000):
        short = run(str(n), lasts_s=1)
        found.started(short)
        found.ended(short)

    assert len(found._deadlines) < 5_000
    assert ["kept"] == [breach.run_id for breach in found.sweep(10**15)]


@pytest.mark.parametrize("bad", [0, 1, 1.5, -0.1, True, "99%", float("nan"), Decimal("sNaN")])
def test_a_share_of_runs_leaves_room_for_failures(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"success: .* is not a share; write a number"):
        WorkflowSLA(success=bad)


@pytest.mark.parametrize("bad", [0, -1, None, "30d", float("inf")])
def test_window_is_a_time(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"window_seconds: .* is no time; write seconds"):
        WorkflowSLA(window_seconds=bad)


def test_a_breach_names_what_has_taken_most() -> None:
    going = run(input_tokens=100)
    found = watch(WorkflowSLA(max_tokens_per_request=90, max_latency_seconds=15), going)
    found.began(going, start(Kind.AGENT, "a", name="billing"))
    found.began(going, start(Kind.LLM, "c1", "a"))
    assert found.progressed(going, call("gpt-4.1", Usage(71, 0), span_id="c1"))
    found.began(going, start(Kind.LLM, "c2", "a", at_s=1))
    found.progressed(going, call("mini", Usage(29, 0), span_id="c2", at_s=1))
    (late,) = found.sweep(20 * NS)

    assert "w: 20.0 s so far, over the limit of 15.0 s; 90 % agent billing (run r)" == late.message
    assert ["agent billing", "gpt-4.1 in agent billing", "mini in agent billing"] == [
        part.text for part in late.largest
    ]


def test_a_slow_first_token_names_its_call() -> None:
    going = run()
    found = watch(WorkflowSLA(max_first_token_seconds=2), going)
    found.began(going, start(Kind.AGENT, "a", name="billing"))
    found.began(going, start(Kind.LLM, "c", "a"))
    (slow,) = found.progressed(going, call("gpt-4.1", span_id="c", first_token_s=3.0))

    expected = "w: first token after 3.0 s so far, over the limit of 2.0 s; 100 % gpt-4.1"
    assert f"{expected} in agent billing (run r)" == slow.message


def test_a_breach_found_elsewhere_is_explained_if_its_run_is_watched() -> None:
    going = run()
    found = watch(WorkflowSLA(max_tokens_per_request=90), going)
    found.began(going, start(Kind.LLM, "c"))
    found.progressed(going, call("gpt-4.1", Usage(71, 0), span_id="c"))
    stop = Breach(
        run_id="r", trace_id="t", workflow="w", limit="tokens", value=200, threshold=100,
        severity="critical", in_flight=True, action="stop",
    )  # fmt: skip
    elsewhere = msgspec.structs.replace(stop, run_id="other")

    assert ["gpt-4.1"] == [part.text for part in found.explain(stop).contributors]
    assert elsewhere == found.explain(elsewhere)


@pytest.mark.parametrize("workflow", ["w", "*"])
def test_a_hard_stop_is_explained_though_there_is_no_level(workflow: str) -> None:
    going, found = run(input_tokens=10**9), SlaWatch()
    found.explain_also([workflow])
    found.started(going)
    found.began(going, start(Kind.LLM, "c"))
    assert [] == found.progressed(going, call("gpt-4.1", Usage(71, 0), span_id="c"))
    stop = Breach(
        run_id="r", trace_id="t", workflow="w", limit="tokens", value=200, threshold=100,
        severity="critical", in_flight=True, action="stop",
    )  # fmt: skip

    assert ["gpt-4.1"] == [part.text for part in found.explain(stop).contributors]
    assert [] == found.sweep(10**18) + found.ended(going)
