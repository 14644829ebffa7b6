"""What the parts of a run have taken, while it goes on and from its spans afterwards."""

from typing import Any

import pytest

from tests.fakes.clock import NOON_NS, NS
from tests.fakes.spans import span
from tocsin.model.run import Contributor
from tocsin.model.span import Kind, Span, Usage
from tocsin.runs.fold import Placed, fold
from tocsin.runs.replay import tally_of
from tocsin.runs.tally import Tally
from tocsin.sources.tocsin_attributes import RUN_ID

DEAR, CHEAP = "gpt-4.1", "gpt-4.1-mini"
PRICE = {DEAR: 0.01, CHEAP: 0.001}

BILLING = [
    # A run of 20 s: two turns of billing, then a hand-off to refunds, which calls once.
    span(Kind.RUN, "r", None, name="support", at_s=0, lasts_s=20),
    span(Kind.AGENT, "a1", "r", name="billing", at_s=0, lasts_s=14),
    span(Kind.STEP, "s1", "a1", name="billing", at_s=0, lasts_s=10),
    span(Kind.LLM, "c1", "s1", model=DEAR, usage=Usage(600, 100), at_s=0, lasts_s=4),
    span(Kind.TOOL, "t1", "s1", name="search", at_s=4, lasts_s=6),
    span(Kind.STEP, "s2", "a1", name="billing", at_s=10, lasts_s=4),
    span(Kind.LLM, "c2", "s2", model=CHEAP, usage=Usage(100, 50), at_s=10, lasts_s=3),
    span(Kind.AGENT, "a2", "r", name="refunds", at_s=14, lasts_s=6),
    span(Kind.STEP, "s3", "a2", name="refunds", at_s=14, lasts_s=6),
    span(Kind.LLM, "c3", "s3", model=DEAR, usage=Usage(100, 50), at_s=14, lasts_s=5),
]


def price(call: Span) -> float | None:
    return PRICE.get(call.model or "")


def streamed(spans: list[Span]) -> Tally:
    """Tally spans as they begin and end."""
    tally = Tally(NOON_NS)
    moments = [(one.started_ns, 0, n) for n, one in enumerate(spans)]
    moments += [(one.ended_ns, 1, -n) for n, one in enumerate(spans)]
    for at_ns, what, key in sorted(moments):
        one = spans[abs(key)]
        if what == 0:
            tally.begin(one.span_id, one.parent_id, one.kind, one.name, at_ns)
        else:
            taker = tally.end(one.span_id, one.kind, one.model, at_ns)
            if one.kind is Kind.LLM:
                tally.add(taker, one.usage, price(one))
    return tally


def replayed(spans: list[Span]) -> Tally:
    (folded,) = fold(list(reversed(spans)))
    return tally_of(folded.spans, price)


@pytest.fixture(params=[streamed, replayed])
def tally(request: Any) -> Any:
    return request.param


def told(found: tuple[Contributor, ...]) -> list[tuple[str, float]]:
    return [(one.text, round(one.value, 6)) for one in found]


def test_tokens_by_model_and_agent(tally: Any) -> None:
    found = tally(BILLING).contributors("tokens", 1000, 0)
    assert told(found) == [
        ("gpt-4.1 in agent billing", 700),
        ("gpt-4.1 in agent refunds", 150),
        ("gpt-4.1-mini in agent billing", 150),
    ]
    assert [0.7, 0.15, 0.15] == [one.share for one in found]


def test_dollars_by_model_and_agent(tally: Any) -> None:
    assert told(tally(BILLING).contributors("cost", 1, 0)) == [
        ("gpt-4.1 in agent billing", 0.01),
        ("gpt-4.1 in agent refunds", 0.01),
        ("gpt-4.1-mini in agent billing", 0.001),
    ]


def test_turns_by_agent(tally: Any) -> None:
    assert [("agent billing", 2), ("agent refunds", 1)] == told(
        tally(BILLING).contributors("turns", 3, 0)
    )


def test_time_by_what_has_spent_it_and_no_second_twice(tally: Any) -> None:
    found = tally(BILLING).contributors("latency", 20, NOON_NS + 20 * NS)
    assert told(found) == [
        ("tool search in agent billing", 6),
        ("gpt-4.1 in agent refunds", 5),
        ("gpt-4.1 in agent billing", 4),
        ("gpt-4.1-mini in agent billing", 3),
        ("agent billing", 1),
        ("agent refunds", 1),
    ]
    assert 1 == pytest.approx(sum(one.share for one in found))


def test_turns_are_calls_where_no_turns_are_reported(tally: Any) -> None:
    flat = [
        span(Kind.AGENT, "a", None, name="solo", lasts_s=9),
        span(Kind.LLM, "c1", "a", model=DEAR, at_s=0),
        span(Kind.LLM, "c2", "a", model=DEAR, at_s=2),
    ]
    assert [("agent solo", 2)] == told(tally(flat).contributors("turns", 2, 0))


def test_turns_of_an_agent_used_as_a_tool_are_not_the_runs(tally: Any) -> None:
    inner = [
        span(Kind.AGENT, "a", None, name="boss", lasts_s=9),
        span(Kind.LLM, "c1", "a", model=DEAR, at_s=0),
        span(Kind.TOOL, "t", "a", name="expert", at_s=2, lasts_s=5),
        span(Kind.AGENT, "b", "t", name="helper", at_s=3, lasts_s=3),
        span(Kind.LLM, "c2", "b", model=CHEAP, at_s=3, usage=Usage(5, 5)),
    ]
    found = tally(inner)
    assert [("agent boss", 1)] == told(found.contributors("turns", 1, 0))
    assert [("gpt-4.1-mini in agent helper", 10)] == told(found.contributors("tokens", 1, 0))


def test_time_of_what_is_not_reported_yet() -> None:
    calls = [Placed(span(Kind.LLM, "c", "gone", model=DEAR, lasts_s=1), True, False, False)]
    found = tally_of(calls, price).contributors("latency", 15, NOON_NS + NS)
    assert [("what is not reported yet", 14), ("gpt-4.1", 1)] == told(found)


def test_a_call_that_goes_on_has_no_model_yet() -> None:
    tally = Tally(NOON_NS)
    tally.begin("a", None, Kind.AGENT, "billing", NOON_NS)
    tally.begin("c", "a", Kind.LLM, "response", NOON_NS + NS)
    assert told(tally.contributors("latency", 10, NOON_NS + 10 * NS)) == [
        ("model unknown in agent billing", 9),
        ("agent billing", 1),
    ]


def test_agents_by_what_spans_say_where_their_parents_are_missing() -> None:
    ours = {RUN_ID: "r"}
    spans = [
        span(Kind.LLM, "c1", "gone", agent="billing", model=DEAR, usage=Usage(5, 0)),
        span(Kind.STEP, "s", "gone", name="refunds", attributes=ours, at_s=2, lasts_s=3),
        span(Kind.LLM, "c2", "s", model=DEAR, usage=Usage(3, 0), at_s=2),
    ]
    tally = tally_of([Placed(one, True, False, False) for one in spans], price)
    assert told(tally.contributors("tokens", 8, 0)) == [
        ("gpt-4.1 in agent billing", 5),
        ("gpt-4.1 in agent refunds", 3),
    ]


def test_a_call_that_two_libraries_tell_of_counts_once() -> None:
    twice = [
        span(Kind.AGENT, "a", None, name="solo", lasts_s=4),
        span(Kind.LLM, "outer", "a", model=DEAR, usage=Usage(70, 30)),
        span(Kind.LLM, "inner", "outer", model=DEAR, usage=Usage(70, 30)),
    ]
    assert [("gpt-4.1 in agent solo", 100)] == told(replayed(twice).contributors("tokens", 1, 0))


def test_an_agent_that_alone_knows_its_usage() -> None:
    alone = [
        span(Kind.RUN, "r", None, name="w", lasts_s=4),
        span(Kind.AGENT, "a", "r", name="solo", model=DEAR, usage=Usage(70, 30), calls=0),
    ]
    assert [("gpt-4.1 in agent solo", 100)] == told(replayed(alone).contributors("tokens", 1, 0))


def test_names_without_end_are_one() -> None:
    tally = Tally(0)
    tally.begin("a", None, Kind.AGENT, "solo", 0)
    for n in range(1000):
        tally.begin(f"c{n}", "a", Kind.LLM, "x", n)
        tally.add(tally.end(f"c{n}", Kind.LLM, f"model{n:03}", n + 1), Usage(10, 0), None)
    found = tally.contributors("tokens", 10_000, 0)
    assert (21, 10_000) == (len(found), sum(one.value for one in found))
    assert ("others", 9800) == (found[-1].text, found[-1].value)
    assert len(tally._takers.all) <= 200


def test_nothing_was_taken() -> None:
    limits = ("tokens", "cost", "turns", "latency", "first_token")
    assert [()] * 5 == [Tally(0).contributors(limit, 0, 0) for limit in limits]
