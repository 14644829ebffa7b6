"""Runs whose source reports them are counted once each, whenever their reports come."""

from tests.fakes.clock import NS
from tests.fakes.spans import call, span
from tocsin.model.run import Outcome
from tocsin.model.span import Kind, Span
from tocsin.runs.fold import fold
from tocsin.runs.traces import TraceBook
from tocsin.sources.tocsin_attributes import RUN_COUNTS, RUN_ID, RUN_OUTCOME


def of_run(run_id: str, span_id: str) -> Span:
    return call(span_id=span_id, parent_id=run_id, workflow="w", attributes={RUN_ID: run_id})


def report(run_id: str, outcome: Outcome = Outcome.OK, **counts: int) -> Span:
    told = {name: str(counts.get(field, 0)) for name, field in RUN_COUNTS.items()}
    attributes = {RUN_ID: run_id, RUN_OUTCOME: outcome.value, **told}
    return span(Kind.RUN, run_id, workflow="w", attributes=attributes)


def test_report_is_believed_over_spans() -> None:
    (folded,) = fold([of_run("r", "s"), report("r", Outcome.CANCELLED, turns=3, llm_calls=9)])

    run = folded.run
    assert (Outcome.CANCELLED, 3, 9) == (run.outcome, run.turns, run.llm_calls)
    assert ["s"] == [one.span.span_id for one in folded.spans if one.counted]


def test_run_without_a_report_is_unknown_so_far() -> None:
    (folded,) = fold([of_run("r", "s")])

    assert (Outcome.UNKNOWN, False, 1) == (
        folded.run.outcome,
        folded.reported,
        folded.run.llm_calls,
    )


def test_runs_of_a_trace_are_new_with_their_own_report() -> None:
    book = TraceBook()
    seen = []
    steps = [
        [of_run("a", "1"), report("a")],
        [of_run("b", "2")],
        [report("b")],
        [of_run("a", "late")],
    ]
    for number, spans in enumerate(steps):
        book.add(spans, number + 1, number * 100 * NS)
        settled = book.settled(number * 100 * NS + 20 * NS)
        seen.append([set(one.new_runs) for one in settled])

    assert [[{"a"}], [set()], [{"b"}], [set()]] == seen


def test_run_that_goes_on_keeps_its_trace_open() -> None:
    book = TraceBook()
    book.add([report("a"), of_run("b", "2")], 1, 0)

    (settled,) = book.settled(2 * NS)
    assert ({"a"}, False) == (set(settled.new_runs), settled.is_over)
