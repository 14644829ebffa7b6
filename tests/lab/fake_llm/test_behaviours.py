from collections.abc import Callable
from random import Random
from statistics import median

import pytest

from tocsin.lab.fake_llm import (
    Failure,
    Hang,
    Request,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    answer,
    choose,
    fail_first,
    flaky,
    latencies,
    script,
    tokens,
)

Make = Callable[..., Request]

LOOKUP = ToolCalls((ToolCall("lookup"),))
DONE = Text("done")


def test_answer_says_the_same_at_every_step(make_request: Make) -> None:
    assert Text("hi") == answer("hi")(make_request(step=3))


@pytest.mark.parametrize(("step", "expected"), [(0, LOOKUP), (1, DONE), (7, DONE)])
def test_script_replies_by_step_and_repeats_the_last(
    make_request: Make, step: int, expected: Text | ToolCalls
) -> None:
    assert expected == script([LOOKUP, DONE])(make_request(step=step))


def test_script_can_restart_on_handoff(make_request: Make) -> None:
    behaviour = script([LOOKUP, DONE], restart_on_handoff=True)

    assert LOOKUP == behaviour(make_request(step=1, step_since_handoff=0))


def test_script_needs_a_reply() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        script([])


def test_flaky_fails_about_as_often_as_told(make_request: Make) -> None:
    behaviour = flaky(answer("ok"), Failure(500), 0.25)
    rng = Random(1)

    failures = sum(behaviour(make_request(rng=rng)) == Failure(500) for _ in range(4000))

    assert 1000 == pytest.approx(failures, rel=0.1)


def test_fail_first_lets_retries_through(make_request: Make) -> None:
    behaviour = fail_first(2, Failure(429), answer("ok"))

    replies = [behaviour(make_request(attempt=attempt)) for attempt in range(3)]

    assert [Failure(429), Failure(429), Text("ok")] == replies


def test_choose_follows_the_weights(make_request: Make) -> None:
    behaviour = choose([(3, answer("often")), (1, answer("rarely"))])
    rng = Random(1)

    often = sum(behaviour(make_request(rng=rng)) == Text("often") for _ in range(4000))

    assert 3000 == pytest.approx(often, rel=0.05)


def test_latencies_spread_around_the_median(make_request: Make) -> None:
    behaviour = latencies(answer("ok"), median_s=2.0, sigma=0.5)
    rng = Random(1)

    replies = [behaviour(make_request(rng=rng)) for _ in range(4000)]

    totals = [reply.latency.total_s or 0.0 for reply in replies if isinstance(reply, Text)]
    assert 2.0 == pytest.approx(median(totals), rel=0.05)


def test_latencies_leave_a_hang_alone(make_request: Make) -> None:
    assert Hang(5) == latencies(lambda _: Hang(5), median_s=1.0)(make_request())


def test_tokens_replace_the_usage_of_answers(make_request: Make) -> None:
    behaviour = tokens(answer("ok"), lambda rng: Usage(input=rng.randint(5, 5)))

    assert Text("ok", usage=Usage(input=5)) == behaviour(make_request())


def test_tokens_leave_failures_alone(make_request: Make) -> None:
    assert Failure(500) == tokens(lambda _: Failure(500), lambda _: None)(make_request())
