"""When the spans of a trace are handed on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.spans import span
from tocsin.model.span import Kind, Span, Usage
from tocsin.runs.traces import Settled, TraceBook

S = 1_000_000_000


def a_span(span_id: str, parent: str | None = None, **fields: Any) -> Span:
    kind = Kind.RUN if parent is None else Kind.LLM
    given: dict[str, Any] = {"trace_id": "t", "usage": Usage(120, 30)} | fields
    return span(kind, span_id=span_id, parent_id=parent, **given)


def fresh(settled: list[Settled]) -> list[set[str]]:
    return [set(trace.fresh) for trace in settled]


def test_a_trace_waits_for_its_root_and_for_quiet() -> None:
    book = TraceBook(settle_s=1, patience_s=10)
    book.add([a_span("l", "r")], 1, 0)
    assert [] == book.settled(5 * S)
    book.add([a_span("r")], 2, 5 * S)
    assert [] == book.settled(5 * S + S // 2)
    (trace,) = book.settled(6 * S)
    assert ({"l", "r"}, True, False) == (set(trace.fresh), trace.is_over, trace.is_amended)
    assert 1 == trace.runs[0].run.llm_calls


def test_patience_hands_calls_on_while_the_run_goes_on() -> None:
    book = TraceBook(settle_s=1, patience_s=10)
    book.add([a_span("l", "r")], 1, 0)
    (early,) = book.settled(10 * S)
    assert ({"l"}, False) == (set(early.fresh), early.is_over)
    book.add([a_span("m", "r"), a_span("r")], 2, 20 * S)
    (late,) = book.settled(21 * S)
    assert ({"m", "r"}, True, False) == (set(late.fresh), late.is_over, late.is_amended)
    assert 2 == late.runs[0].run.llm_calls


def test_a_root_that_never_comes_is_not_waited_for() -> None:
    book = TraceBook(patience_s=10, idle_s=60)
    book.add([a_span("l", "r")], 1, 0)
    assert [False] == [trace.is_over for trace in book.settled(10 * S)]
    assert [] == book.settled(59 * S)
    (trace,) = book.settled(60 * S)
    assert (set(), True) == (set(trace.fresh), trace.is_over)


def test_late_spans_amend() -> None:
    book = TraceBook(settle_s=1)
    book.add([a_span("r"), a_span("l", "r")], 1, 0)
    book.settled(S)
    book.add([a_span("m", "r")], 2, 5 * S)
    (trace,) = book.settled(6 * S)
    assert ({"m"}, True, True) == (set(trace.fresh), trace.is_over, trace.is_amended)
    assert (2, 1) == (trace.runs[0].run.llm_calls, book.late_spans)


def test_duplicates_are_dropped() -> None:
    book = TraceBook(settle_s=1)
    book.add([a_span("r"), a_span("r")], 1, 0)
    book.settled(S)
    book.add([a_span("r")], 2, 2 * S)
    assert [] == book.settled(9 * S)
    assert 2 == book.duplicates


def test_first_waiting_is_what_a_restart_must_read_again() -> None:
    book = TraceBook(settle_s=1)
    assert book.first_waiting() is None
    book.add([a_span("a", trace_id="t1")], 7, 0)
    book.add([a_span("b", "gone", trace_id="t2")], 8, 0)
    assert 7 == book.first_waiting()
    book.settled(S)
    assert 8 == book.first_waiting()
    book.settled(10 * S)
    assert book.first_waiting() is None


def test_memory_is_bounded_by_handing_the_oldest_on() -> None:
    book = TraceBook(max_spans=10)
    for n in range(30):
        book.add([a_span(f"s{n}", "gone", trace_id=f"t{n}")], n, n)
    settled = book.settled(100)
    assert [{f"s{n}"} for n in range(20)] == fresh(settled)
    assert (10, 20) == (book.held_spans, book.spilled_traces)


def test_settled_traces_are_forgotten_after_a_while() -> None:
    book = TraceBook(settle_s=1, linger_s=300)
    book.add([a_span("r")], 1, 0)
    book.settled(S)
    assert 1 == book.held_spans
    book.settled(300 * S)
    assert 0 == book.held_spans


def test_restored_spans_complete_their_run_and_are_not_fresh() -> None:
    book = TraceBook(settle_s=1)
    book.restore([a_span("l", "r")], 0)
    assert book.first_waiting() is None
    book.add([a_span("r")], 5, S)
    (trace,) = book.settled(2 * S)
    assert ({"r"}, 1) == (set(trace.fresh), trace.runs[0].run.llm_calls)


def test_a_late_span_amends_a_run_that_was_brought_back() -> None:
    book = TraceBook(settle_s=1)
    book.restore([a_span("r"), a_span("l", "r")], 0, are_over=True)
    assert [] == book.settled(100 * S)
    book.add([a_span("m", "r"), a_span("r")], 5, 101 * S)
    (trace,) = book.settled(102 * S)
    assert ({"m"}, True, 2) == (set(trace.fresh), trace.is_amended, trace.runs[0].run.llm_calls)


@pytest.mark.parametrize(
    ("runs", "scopes", "starts"),
    [
        (1, ("sdk", "instrumentor"), (0, 10)),
        (2, ("sdk", "sdk"), (0, 10)),
        (2, ("sdk", "instrumentor"), (0, 5000)),
    ],
)
def test_two_instrumentors_in_separate_traces_tell_of_one_call(
    runs: int, scopes: tuple[str, str], starts: tuple[int, int]
) -> None:
    book = TraceBook(settle_s=1)
    for n, (scope, start) in enumerate(zip(scopes, starts, strict=True)):
        call = span(
            Kind.LLM,
            span_id=f"s{n}",
            trace_id=f"t{n}",
            parent_id=None,
            scope=scope,
            model="claude",
            usage=Usage(120, 30),
            started_ns=start,
            ended_ns=start + 1000 - 20 * n,
        )
        book.add([call], n, 0)
    assert runs == sum(len(trace.runs) for trace in book.settled(2 * S))


def test_what_was_spilled_can_be_brought_back() -> None:
    book = TraceBook(settle_s=1, max_spans=1)
    book.add([a_span("l", "r", trace_id="t1"), a_span("x", "r", trace_id="t2")], 1, 0)
    book.settled(0)
    assert (True, False) == (book.was_spilled("t1"), book.was_spilled("t2"))
    book.restore([a_span("l", "r", trace_id="t1")], S)
    assert (False, True) == (book.was_spilled("t1"), book.knows("t1"))


def test_what_is_over_is_forgotten_before_anything_is_spilled() -> None:
    book = TraceBook(settle_s=1, max_spans=10)
    book.add([a_span(f"over{n}", trace_id=f"over{n}") for n in range(10)], 1, 0)
    assert 10 == len(book.settled(S))
    book.add([a_span(f"open{n}", "gone", trace_id=f"open{n}") for n in range(5)], 2, 2 * S)
    assert [] == book.settled(2 * S)
    assert (10, 0, 2) == (book.held_spans, book.spilled_traces, book.first_waiting())
    assert not book.knows("over0")
    assert book.knows("open0")


def test_spans_around_runs_are_handed_on_without_one() -> None:
    book = TraceBook(settle_s=1)
    book.add([span(Kind.OTHER, span_id="http", trace_id="t", parent_id=None)], 1, 0)
    (alone,) = book.settled(S)
    assert ([], ["http"]) == (alone.runs, [rest.span_id for rest in alone.rest])


def test_a_twin_does_not_come_back_with_its_trace() -> None:
    book = TraceBook(settle_s=1)
    fields: dict[str, Any] = {"model": "m", "trace_id": "b", "parent_id": None}
    outer = a_span("outer", "agent", scope="x", started_ns=0, ended_ns=9, model="m")
    twin = span(Kind.LLM, "twin", scope="y", usage=Usage(120, 30), **times(1, 8), **fields)
    book.add([twin, outer], 1, 0)
    (first,) = book.settled(S)
    assert ([], ["twin"]) == (first.runs, [rest.span_id for rest in first.rest])

    book.add([span(Kind.TOOL, "late", trace_id="b", parent_id=None)], 2, 2 * S)
    (again,) = book.settled(4 * S)
    assert [["late"]] == [[p.span.span_id for p in run.spans] for run in again.runs]
    assert ["twin"] == [rest.span_id for rest in again.rest]


def times(started_ns: int, ended_ns: int) -> dict[str, Any]:
    return {"started_ns": started_ns, "ended_ns": ended_ns}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.booleans()), max_size=40))
def test_nothing_is_lost_whenever_spans_come(steps: list[tuple[int, int, bool]]) -> None:
    book = TraceBook(max_spans=12)
    now_ns = sent = 0
    handed: list[str] = []
    for number, (trace, wait_s, is_root) in enumerate(steps):
        parent = None if is_root else "gone"
        book.add([a_span(f"s{number}", parent, trace_id=f"t{trace}")], number + 1, now_ns)
        sent += 1
        now_ns += wait_s * S
        handed += [s for settled in book.settled(now_ns) for s in settled.fresh]
        waiting = book.first_waiting()
        assert (waiting is None) == (len(handed) == sent)
        assert book.held_spans <= 12
    handed += [s for settled in book.settled(now_ns, everything=True) for s in settled.fresh]
    assert sorted(handed) == sorted(f"s{number}" for number in range(sent))
    assert not any(settled.fresh for settled in book.settled(now_ns + 61 * S))
    assert ([], 0) == (book.settled(now_ns + 361 * S), book.held_spans)


def test_a_trace_that_is_forgotten_early_leaves_nothing_behind() -> None:
    book = TraceBook(settle_s=1, linger_s=300, max_spans=10)
    for n in range(100):
        book.add([a_span(f"r{n}", trace_id=f"t{n}")], n, n * S)
        book.settled(n * S)
    assert (10, 0) == (book.held_spans, book.spilled_traces)
    assert 1 == len(book._agenda)
