"""When the spans of a trace are handed on."""

from typing import Any

import pytest

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


def test_a_trace_that_is_forgotten_early_leaves_nothing_behind() -> None:
    book = TraceBook(settle_s=1, linger_s=300, max_spans=10)
    for n in range(100):
        book.add([a_span(f"r{n}", trace_id=f"t{n}")], n, n * S)
        book.settled(n * S)
    assert (10, 0) == (book.held_spans, book.spilled_traces)
    assert 1 == len(book._agenda)
