"""Spans of a trace -> its runs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.spans import span
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Span, Usage
from tocsin.runs.fold import FoldedRun, fold

USAGE = Usage(120, 30)


def tree(*lines: str) -> list[Span]:
    """Write a trace as "id parent kind [word…]"; words: usage, error, trip, max, resp=ID, at=N."""
    spans = []
    for place, line in enumerate(lines):
        span_id, parent, kind, *words = line.split()
        pairs = dict(word.split("=") for word in words if "=" in word)
        started = int(pairs.get("at", place))
        spans.append(
            span(
                Kind(kind),
                span_id=span_id,
                trace_id="t",
                parent_id=None if parent == "-" else parent,
                name=pairs.get("name", span_id),
                started_ns=started,
                ended_ns=started + 1000,
                usage=USAGE if "usage" in words else None,
                error=ErrorClass.SERVER_ERROR if "error" in words else None,
                outcome={"max": Outcome.MAX_TURNS, "fails": Outcome.ERROR}.get(
                    next((word for word in words if word in ("max", "fails")), "")
                ),
                triggered="trip" in words,
                response_id=pairs.get("resp"),
                finish_reason=pairs.get("finish"),
                scope=pairs.get("scope", ""),
                conversation_id=pairs.get("conv"),
            )
        )
    return spans


def only(*lines: str, silent: tuple[str, ...] = ()) -> FoldedRun:
    (run,) = fold(tree(*lines), silent)
    return run


def test_totals_of_an_ordinary_run() -> None:
    found = only(
        "r - run", "a r agent", "l a llm usage", "t a tool", "m a llm usage", "h a handoff"
    )
    run = found.run
    assert (2, 240, 60, 1, 1) == (
        run.llm_calls,
        run.input_tokens,
        run.output_tokens,
        run.tool_calls,
        run.handoffs,
    )
    assert ("r", Outcome.OK) == (run.workflow, run.outcome)


@pytest.mark.parametrize(
    ("calls", "lines"),
    [
        # An agent's own usage is a rollup of the calls below it…
        (1, ["a - agent usage", "l a llm usage"]),
        (1, ["r - run", "a r agent usage", "b a agent usage", "l b llm usage"]),
        # …and all there is where no call has a span.
        (1, ["a - agent usage"]),
        (1, ["a - agent usage", "b a agent usage"]),
        (2, ["r - run", "a r agent usage", "b r agent usage"]),
        # Two instrumentors of one call: nested, or side by side with the answer's id.
        (1, ["l - llm usage", "m l llm usage"]),
        (1, ["a - agent", "l a llm usage resp=1", "m a llm usage resp=1"]),
        (2, ["a - agent", "l a llm usage resp=1", "m a llm usage resp=2"]),
        (1, ["l - llm usage", "e l embedding usage"]),
    ],
)
def test_no_work_counts_twice(calls: int, lines: list[str]) -> None:
    found = only(*lines)
    assert (calls, calls * 120) == (found.run.llm_calls, found.run.input_tokens)


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        (["r"], ["r - run", "a r agent"]),
        (["r", "s"], ["x - other", "r x run", "s x run"]),
        (["r"], ["r - run", "a r agent", "s a run"]),
        # Without a run the local root is one: also where its parent never came.
        (["a"], ["a - agent", "l a llm"]),
        (["a", "b"], ["a gone agent", "b lost agent"]),
        (["l"], ["l gone llm"]),
    ],
)
def test_which_spans_are_runs(expected: list[str], lines: list[str]) -> None:
    assert expected == [found.run.run_id for found in fold(tree(*lines))]


@pytest.mark.parametrize(
    ("outcome", "lines"),
    [
        (Outcome.OK, ["r - run", "a r agent", "l a llm", "t a tool error"]),
        (Outcome.ERROR, ["r - run", "a r agent fails", "l a llm error"]),
        (Outcome.ERROR, ["r - run", "s r step fails"]),
        (Outcome.MAX_TURNS, ["r - run", "a r agent max", "s a step fails"]),
        (Outcome.GUARDRAIL, ["r - run", "a r agent fails", "g a guardrail trip"]),
        (Outcome.OK, ["r - run", "g r guardrail"]),
        # An agent used as a tool may fail without failing the run.
        (Outcome.OK, ["r - run", "t r tool error", "a t agent fails", "l r llm"]),
        # The last call decides where nothing else does: retried, or fatal.
        (Outcome.OK, ["r - run", "l r llm error", "m r llm"]),
        (Outcome.ERROR, ["r - run", "l r llm", "m r llm error"]),
    ],
)
def test_outcome(outcome: Outcome, lines: list[str]) -> None:
    assert outcome == only(*lines).run.outcome


@pytest.mark.parametrize(
    ("outcome", "lines"),
    [
        (Outcome.GUARDRAIL, ["r - run", "a r agent scope=quiet"]),
        (Outcome.ERROR, ["r - run", "a r agent scope=quiet", "l a llm finish=tool_calls"]),
        (Outcome.OK, ["r - run", "a r agent scope=quiet", "l a llm finish=stop"]),
        (Outcome.OK, ["r - run", "a r agent scope=loud"]),
    ],
)
def test_outcome_where_guardrails_and_turns_have_no_spans(
    outcome: Outcome, lines: list[str]
) -> None:
    assert outcome == only(*lines, silent=("quiet",)).run.outcome


def test_a_circle_of_parents_is_a_run_like_any_other() -> None:
    (found,) = fold(tree("a b agent", "b a agent", "l b llm"))
    assert {"a", "b", "l"} == {one.span_id for one in found.spans}


def test_conversation_comes_from_any_span() -> None:
    assert "chat-1" == only("r - run", "a r agent conv=chat-1").run.conversation_id


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12), st.sampled_from(["run", "agent", "llm", "tool", "step", "handoff"])
        ),
        max_size=13,
    ),
    st.randoms(use_true_random=False),
)
def test_order_of_arrival_does_not_matter(
    shape: list[tuple[int, str]], dice: random.Random
) -> None:
    lines = [f"s{n} s{parent} {kind} usage" for n, (parent, kind) in enumerate(shape)]
    spans = tree(*lines)
    shuffled = spans.copy()
    dice.shuffle(shuffled)
    assert fold(spans) == fold(shuffled)
    placed = [one.span_id for run in fold(spans) for one in run.spans]
    assert sorted(placed) == sorted(set(placed))


def test_a_trace_as_deep_as_it_is_long_is_folded_in_passes() -> None:
    depth = 20_000
    lines = ["s0 - agent usage", *(f"s{n} s{n - 1} agent usage" for n in range(1, depth))]
    (found,) = fold(tree(*lines))
    assert (depth, 1) == (len(found.spans), found.run.llm_calls)
