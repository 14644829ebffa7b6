"""One call that two instrumentors put into separate traces counts once."""

from typing import Any

import pytest

from tocsin.model.span import ErrorClass, Kind, Span, Usage
from tocsin.runs.twins import MAX_RECENT, RecentCalls, find_siblings

OUTER, INNER = "openinference", "com.anthropic"


def call(trace: str, started: int, ended: int, **fields: Any) -> Span:
    given: dict[str, Any] = {"scope": OUTER, "usage": Usage(120, 30), "parent_id": None}
    return Span(
        trace_id=trace,
        span_id=f"{trace}-{started}",
        kind=Kind.LLM,
        name="call",
        started_ns=started,
        ended_ns=ended,
        model="claude",
        service="shop",
        **given | fields,
    )


ONE = call("a", 10, 90)
TWO = call("b", 20, 80, scope=INNER, response_id="msg_1")


def twins(*calls: Span, alone: bool = True) -> set[str]:
    """Traces whose lone call is dropped, when all calls come before any is judged."""
    recent = RecentCalls()
    for call in calls:
        recent.note(call)
    return {c.trace_id for c in calls if (alone or c.parent_id is None) and recent.is_twin(c)}


@pytest.mark.parametrize("order", [(ONE, TWO), (TWO, ONE)])
def test_of_two_roots_the_one_that_knows_less_is_dropped(order: tuple[Span, Span]) -> None:
    assert {"a"} == twins(*order)


def test_of_two_equal_roots_the_inner_is_dropped() -> None:
    inner = call("b", 20, 80, scope=INNER)
    assert {"b"} == twins(ONE, inner) == twins(inner, ONE)


def test_a_call_in_a_trace_of_its_own_is_dropped_for_one_in_an_agents() -> None:
    outer = call("a", 10, 90, parent_id="agent")
    assert {"b"} == twins(outer, TWO, alone=False)


def test_a_call_that_was_counted_stays() -> None:
    recent = RecentCalls()
    recent.note(inner := call("b", 20, 80, scope=INNER))
    assert not recent.is_twin(inner)
    recent.note(ONE)
    assert recent.is_twin(ONE)


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": OUTER},
        {"usage": Usage(121, 30)},
        {"usage": None},
        {"ended_ns": 95},
        {"started_ns": 5},
        {"model": "gpt"},
        {"service": "other"},
        {"error": ErrorClass.TIMEOUT},
        {"usage": None, "error": ErrorClass.TIMEOUT},
        {"trace_id": "a"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_unlike_calls_are_not_twins(changed: dict[str, Any]) -> None:
    outer = call("a", 10, 90, parent_id="agent")
    fields = {name: getattr(TWO, name) for name in TWO.__struct_fields__} | changed
    assert set() == twins(outer, Span(**fields), alone=False)


def test_calls_with_different_response_ids_are_not_twins() -> None:
    assert set() == twins(call("a", 10, 90, response_id="msg_0"), TWO)


def test_a_common_response_id_says_more_than_times_and_tokens() -> None:
    outer = call("a", 30, 90, parent_id="agent", response_id="msg_1", usage=Usage(120, 31))
    assert {"b"} == twins(outer, TWO, alone=False)
    assert set() == twins(outer, call("b", 20, 80, response_id="msg_1"), alone=False)


def test_a_call_that_failed_for_two_instrumentations_failed_once() -> None:
    failed: dict[str, Any] = {"usage": None, "error": ErrorClass.RATE_LIMIT}
    outer = call("a", 10, 90, parent_id="agent", **failed)
    inner = call("b", 20, 80, scope=INNER, **failed | {"error": ErrorClass.OTHER})
    assert {"b"} == twins(outer, inner, alone=False)
    assert set() == twins(outer, call("b", 20, 80, **failed), alone=False)
    assert set() == twins(outer, call("b", 20, 95, scope=INNER, **failed), alone=False)


def test_concurrent_calls_pair_one_to_one() -> None:
    outer = [call(f"o{n}", n, 100 + n) for n in range(5)]
    inner = [call(f"i{n}", n + 10, 90 + n, scope=INNER) for n in range(5)]
    assert 5 == len(twins(*inner, *outer))
    assert 4 == len(twins(*inner[:4], *outer))


def test_calls_of_unknown_instrumentations_are_not_twins() -> None:
    restored = call("a", 10, 90, parent_id="agent", scope="")
    late = call("a", 20, 80, parent_id="agent")
    assert set() == find_siblings([restored, late])
    assert set() == twins(restored, TWO, alone=False)


def test_memory_is_bounded() -> None:
    recent = RecentCalls()
    for number in range(MAX_RECENT + 10):
        recent.note(call(f"t{number}", 10, 90, usage=Usage(number % 7, 1)))
    assert MAX_RECENT == len(recent._noted)
    recent.note(TWO)
    assert not recent.is_twin(TWO)
    assert MAX_RECENT == len(recent._seen)
    keys = sum(len(seen.keys) for seen in recent._seen)
    assert keys == sum(map(len, recent._alike.values()))


def test_of_siblings_in_a_trace_the_one_that_knows_less_is_dropped() -> None:
    outer = call("a", 10, 90, parent_id="agent")
    knowing = call("a", 20, 80, parent_id="agent", scope=INNER, response_id="msg_1")
    unknowing = call("a", 20, 80, parent_id="agent", scope=INNER)
    elsewhere = call("a", 20, 80, parent_id="another", scope=INNER)

    assert {"a-10"} == find_siblings([knowing, outer])
    assert {"a-20"} == find_siblings([unknowing, outer])
    assert set() == find_siblings([elsewhere, outer])
    assert set() == find_siblings([outer, call("a", 30, 70, parent_id="agent")])
