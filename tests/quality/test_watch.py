"""Each signal over spans, where the real SDK cannot easily be brought to make them."""

from typing import Any

import pytest

from tests.fakes.spans import run, span
from tocsin.model.finding import Signal
from tocsin.model.run import Outcome, Run
from tocsin.model.span import ErrorClass, Kind, Observation, Result, Span, Usage
from tocsin.quality.answers import judge_answer
from tocsin.quality.guardrails import GIVE_UP, GuardrailHabit
from tocsin.quality.run import MAX_AGENTS, RunWatch
from tocsin.quality.settings import OFF, Quality
from tocsin.quality.watch import MAX_RUNS, QualityWatch


def tool(n: int, name: str = "t", *, arguments: Any = 1, output: Any = 1, **fields: Any) -> Span:
    result = None if output is None else Result(output, 500, arguments)
    more: dict[str, Any] = {"parent_id": "a", "arguments": arguments, "result": result} | fields
    return span(Kind.TOOL, f"{n}", name=name, at_s=n, lasts_s=0.5, **more)


def model(n: int, tokens: int = 100, **fields: Any) -> Span:
    more: dict[str, Any] = {"parent_id": "a", "usage": Usage(tokens, 10)} | fields
    return span(Kind.LLM, f"l{n}", at_s=n + 0.6, lasts_s=0.2, **more)


def handoff(n: int, giver: str | None, taker: str | None, **fields: Any) -> Span:
    more: dict[str, Any] = {"from_agent": giver, "to_agent": taker} | fields
    return span(Kind.HANDOFF, f"h{n}", at_s=n, **more)


AGENT = span(Kind.AGENT, "a", lasts_s=1000)


def signals(*spans: Span, quality: Quality | None = None) -> list[Signal]:
    found = QualityWatch(quality).replay(run(lasts_s=1000), [AGENT, *spans])
    return [finding.signal for finding in found]


def test_identical_calls() -> None:
    assert [] == signals(*(tool(n) for n in range(5)))
    assert [Signal.TOOL_LOOP] == signals(*(tool(n) for n in range(9)))


def test_unknown_outputs_take_twice_as_many_calls() -> None:
    assert [] == signals(*(tool(n, output=None) for n in range(11)))
    assert [Signal.TOOL_LOOP] == signals(*(tool(n, output=None) for n in range(12)))


def test_unknown_arguments_are_no_loop() -> None:
    assert [] == signals(*(tool(n, arguments=None) for n in range(30)))


def test_identical_calls_between_others_are_no_loop() -> None:
    calls = [tool(n, arguments=0 if n % 3 == 0 else n) for n in range(100)]
    assert [] == signals(*calls)


def test_another_agents_calls_are_not_ones_own() -> None:
    agents = [span(Kind.AGENT, f"a{n}", lasts_s=1000) for n in range(10)]
    assert [] == signals(*agents, *(tool(n, parent_id=f"a{n}") for n in range(10)))


def test_calls_inside_of_turns_and_other_spans_are_the_agents() -> None:
    steps = [span(Kind.STEP, f"s{n}", "a", lasts_s=900) for n in range(6)]
    others = [span(Kind.OTHER, f"o{n}", f"s{n}", lasts_s=800) for n in range(6)]
    calls = [tool(n, parent_id=f"o{n}") for n in range(6)]
    assert [Signal.TOOL_LOOP] == signals(*steps, *others, *calls)


def stalled(rounds: int, **call: Any) -> list[Span]:
    made = [tool(n, arguments=n % 3, output=n % 3, **call) for n in range(rounds)]
    return [one for n in range(rounds) for one in (made[n], model(n, 100 + n))]


def test_growing_context_without_anything_new() -> None:
    assert [] == signals(*stalled(8))
    assert [Signal.NO_PROGRESS] == signals(*stalled(9))


def test_context_that_does_not_grow_is_no_stall() -> None:
    tools = [one for one in stalled(30) if one.kind is Kind.TOOL]
    assert [] == signals(*tools, *(model(n, 100) for n in range(30)))


def test_model_calls_without_any_tool_seen_are_no_stall() -> None:
    assert [] == signals(*(model(n, 100 + n) for n in range(30)))


def test_failing_with_ever_other_arguments_is_no_progress() -> None:
    made = [
        one
        for n in range(6)
        for one in (
            tool(n, f"t{n % 2}", arguments=n, error=ErrorClass.OTHER),
            model(n, 100 + n),
        )
    ]
    assert [Signal.NO_PROGRESS] == signals(*made)


def test_ping_pong_needs_the_same_two_agents() -> None:
    to_and_fro = [handoff(n, "ab"[n % 2], "ba"[n % 2]) for n in range(3)]
    assert [Signal.HANDOFF_PING_PONG] == signals(*to_and_fro)
    assert [] == signals(*(handoff(n, "abc"[n % 3], "bca"[n % 3]) for n in range(9)))
    assert [] == signals(*(handoff(n, None, None) for n in range(9)))
    assert [] == signals(*(handoff(n, "a", "a") for n in range(9)))
    failed = [handoff(n, "ab"[n % 2], "ba"[n % 2], error=ErrorClass.OTHER) for n in range(9)]
    assert [] == signals(*failed)


def test_repeated_lookup_between_handoffs_is_no_work() -> None:
    spans = [handoff(n, "ab"[n // 2 % 2], "ba"[n // 2 % 2]) for n in range(0, 10, 2)]
    assert Signal.HANDOFF_PING_PONG in signals(*spans, *(tool(n) for n in range(1, 10, 2)))
    other = [tool(n, arguments=n) for n in range(1, 10, 2)]
    assert [] == signals(*spans, *other)


def test_storm_is_of_one_tool_in_a_row() -> None:
    failed: dict[str, Any] = {"error": ErrorClass.OTHER}
    assert [Signal.RETRY_STORM] == signals(*(tool(n, arguments=n, **failed) for n in range(5)))
    assert [] == signals(*(tool(n, f"t{n}", arguments=n, **failed) for n in range(9)))
    now_and_then = [tool(n, arguments=n, **(failed if n % 5 else {})) for n in range(20)]
    assert [] == signals(*now_and_then)
    cut_off = [tool(n, arguments=n, error=ErrorClass.CANCELLED) for n in range(9)]
    assert [] == signals(*cut_off)


@pytest.mark.parametrize(
    ("fields", "signal"),
    [
        ({"finish_reason": "length"}, Signal.TRUNCATED_ANSWER),
        ({"finish_reason": "MAX_TOKENS"}, Signal.TRUNCATED_ANSWER),
        ({"finish_reason": "content_filter"}, Signal.FILTERED_ANSWER),
        ({"usage": Usage(10, 0)}, Signal.EMPTY_ANSWER),
        ({"is_empty": True}, Signal.EMPTY_ANSWER),
        ({"usage": Usage(10, 0), "error": ErrorClass.RATE_LIMIT}, None),
        ({"usage": Usage(10, 0), "calls": 0}, None),
        ({"usage": None}, None),
        ({"finish_reason": "stop"}, None),
        ({"finish_reason": "tool_calls"}, None),
    ],
)
def test_answers(fields: dict[str, Any], signal: Signal | None) -> None:
    found = judge_answer(model(0, **fields))
    assert signal == (found and found[0])


def ended(*, outcome: Outcome = Outcome.OK, **fields: Any) -> Run:
    return run(lasts_s=1, outcome=outcome, llm_calls=1, **fields)


def habit(*checks: bool, quality: Quality | None = None) -> list[bool]:
    """Which of these runs, with a check or without, are a signal."""
    watch = GuardrailHabit(quality or Quality())
    return [watch.add(ended(), was_checked=check) is not None for check in checks]


def test_broken_guardrail_does_not_become_usual() -> None:
    assert [True] * 50 == habit(*[True] * 20, *[False] * 50)[20:]


def test_guardrail_removed_on_purpose_is_let_go() -> None:
    said = habit(*[True] * 20, *[False] * (GIVE_UP + 50))
    assert GIVE_UP == sum(said)


def test_guardrail_of_some_runs_only_is_no_habit() -> None:
    assert not any(habit(*[True, True, True, False] * 50))


def test_workflows_have_habits_of_their_own() -> None:
    watch = GuardrailHabit(Quality())
    for _ in range(30):
        watch.add(ended(), was_checked=True)
        assert watch.add(ended(workflow="other"), was_checked=False) is None


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_runs_that_did_not_succeed_may_lack_a_check(outcome: Outcome) -> None:
    watch = GuardrailHabit(Quality(guarded=["w"]))
    assert watch.add(ended(outcome=outcome), was_checked=False) is None


def test_signal_is_raised_once_per_run() -> None:
    watch = QualityWatch()
    for n in range(2):
        again = run(f"r{n}", lasts_s=10)
        assert 1 == len(watch.replay(again, [model(n, finish_reason="length") for n in range(5)]))


def test_off_raises_nothing() -> None:
    spans = [*(tool(n) for n in range(20)), model(1, finish_reason="length")]
    assert [] == signals(*spans, quality=OFF)


def test_memory_is_bounded() -> None:
    watch = QualityWatch()
    for n in range(MAX_RUNS + 5):
        watch.started(run(f"r{n}"), AGENT)
    assert MAX_RUNS == len(watch._runs)
    one = RunWatch(Quality())
    for n in range(MAX_AGENTS + 5):
        agent = span(Kind.AGENT, f"a{n}")
        one.start(agent)
        list(one.end(Observation(span=tool(n, parent_id=f"a{n}"), workflow="w")))
    assert MAX_AGENTS == len(one._agents)


def test_finished_runs_are_forgotten() -> None:
    watch = QualityWatch()
    watch.replay(run(lasts_s=1), [AGENT, tool(0)])
    assert 0 == len(watch._runs)
