"""Each workflow for real: the Agents SDK against the fake server, as a watcher sees it."""

from collections.abc import Callable
from random import Random

import pytest

from tocsin.lab.demo.figures import Snapshot
from tocsin.lab.fake_llm import Failure, Text, fail_first, script
from tocsin.lab.fleet import billing, research, support
from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.driver import Fleet
from tocsin.lab.fleet.workflow import Errand, pick
from tocsin.meters import catalogue as m
from tocsin.model.run import Outcome

Play = Callable[..., tuple[Fleet, Snapshot]]
Saying = Callable[..., Arrival]


def outcomes(now: Snapshot, workflow: str) -> dict[str, float]:
    return {name: n for name, n in now.by(m.RUNS, "outcome", workflow=workflow).items() if n}


@pytest.mark.parametrize(
    ("words", "desk", "tool"),
    [("charged twice", "billing_desk", "lookup_order"), ("basket", "tech_desk", "search_kb")],
)
def test_support_hands_over_to_a_desk(
    play: Play, saying: Saying, words: str, desk: str, tool: str
) -> None:
    _, now = play(saying("customer-support", support.REQUESTS, words, conversation="c"))

    assert {Outcome.OK: 1} == outcomes(now, "customer-support")
    assert 1 == now.total(m.HANDOFFS, from_agent="triage", to_agent=desk)
    assert 1 <= now.observations(m.TOOL_DURATION, tool=tool)
    assert 1 == now.observations(m.CONVERSATION_TURNS)


@pytest.mark.parametrize("streamed", [False, True])
def test_support_refuses_abuse(
    play: Play, saying: Saying, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr(support, "STREAMED_SHARE", float(streamed))

    fleet, now = play(saying("customer-support", support.REQUESTS, "useless"))

    assert {"InputGuardrailTripwireTriggered": 1} == fleet.ended
    assert {Outcome.GUARDRAIL: 1} == outcomes(now, "customer-support")
    assert 1 == now.total(m.GUARDRAIL_TRIGGERED, guardrail="abuse")


def test_support_looks_up_again_after_a_failure(play: Play, saying: Saying) -> None:
    def fails_once(index: int) -> bool:
        errand = Errand(f"x {index}")
        first, second = (errand.chance("lookup_order", "A-1000") for _ in range(2))
        draws = [(rng.lognormvariate(0, 0.4), rng.random())[1] for rng in (first, second)]
        return draws[0] < 0.1 <= draws[1] and asks_for_an_order(f"x {index}")

    def asks_for_an_order(seed: str) -> bool:
        said = pick(Random(seed), support.REQUESTS)
        return "A-" in said and "useless" not in said

    seed = next(f"x {index}" for index in range(10_000) if fails_once(index))

    _, now = play(Arrival(index=0, at_s=0.0, workflow="customer-support", seed=seed))

    assert {Outcome.OK: 1} == outcomes(now, "customer-support")
    assert (1, 1) == (now.total(m.TOOL_ERRORS), now.total(m.TOOL_RETRIES))


def test_research_uses_an_agent_as_a_tool(play: Play, saying: Saying) -> None:
    _, now = play(saying("research", research.QUESTIONS, "market"))

    assert {Outcome.OK: 1} == outcomes(now, "research")
    assert 1 == now.observations(m.TOOL_DURATION, tool="research")
    assert 2 <= now.observations(m.TOOL_DURATION, tool="web_search")
    assert (2, 2) == tuple(now.total(m.LLM_CALLS, model=f"gpt-4.1{kind}") for kind in ("", "-mini"))
    assert 2 <= now.observations(m.FIRST_TOKEN)


@pytest.mark.slow
def test_research_runs_away_in_turns(play: Play, saying: Saying) -> None:
    fleet, now = play(saying("research", research.QUESTIONS, "every last source"))

    assert {Outcome.MAX_TURNS: 1} == outcomes(now, "research")
    assert {"MaxTurnsExceeded": 1} == fleet.ended


def test_research_runs_away_in_tokens(play: Play, saying: Saying) -> None:
    _, now = play(saying("research", research.QUESTIONS, "whole archive"))

    assert 20_000 < (now.total(m.TOKENS) or 0)


def test_billing_refunds(play: Play, saying: Saying) -> None:
    _, now = play(saying("billing", billing.REQUESTS, "Please refund"))

    assert {Outcome.OK: 1} == outcomes(now, "billing")
    assert 1 == now.observations(m.TOOL_DURATION, tool="refund")


def test_billing_holds_card_numbers_back(play: Play, saying: Saying) -> None:
    leak = script([Text("Paid with card 4111 1111 1111 1111.")])
    models = {"gpt-4o-mini": leak, "acme-7b": leak}

    _, now = play(saying("billing", billing.REQUESTS, "Please refund"), models=models)

    assert {Outcome.GUARDRAIL: 1} == outcomes(now, "billing")
    assert 1 == now.total(m.GUARDRAIL_TRIGGERED, guardrail="card_number")


def test_billing_tries_failed_calls_again(play: Play, saying: Saying) -> None:
    flaky = fail_first(1, Failure(500), script([Text("Done.")]))
    models = {"gpt-4o-mini": flaky, "acme-7b": flaky}

    _, now = play(saying("billing", billing.REQUESTS, "consist of"), models=models)

    assert {Outcome.OK: 1} == outcomes(now, "billing")
    assert 1 == now.total(m.LLM_ERRORS, error="server_error")


@pytest.mark.slow
def test_billing_tries_a_stuck_refund_again(play: Play) -> None:
    def gets_stuck(seed: str) -> bool:
        errand = Errand(seed)
        first, second = (errand.chance("refund", "R-2000").random() < 0.08 for _ in range(2))
        return first and not second and "refund" in pick(Random(seed), billing.REQUESTS)

    seed = next(str(index) for index in range(10_000) if gets_stuck(str(index)))

    _, now = play(Arrival(index=0, at_s=0.0, workflow="billing", seed=seed))

    assert (1, 1) == (now.total(m.TOOL_ERRORS), now.total(m.TOOL_RETRIES))


def test_caller_gives_up(play: Play, saying: Saying) -> None:
    arrival = saying("customer-support", support.REQUESTS, "basket", cancel_after_s=0.05)

    fleet, now = play(arrival)

    assert {"CancelledError": 1} == fleet.ended
    assert {Outcome.CANCELLED: 1} == outcomes(now, "customer-support")
