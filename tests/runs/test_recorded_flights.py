"""Whatever library sent it: what is told of a run in flight is true in its end."""

import random
from collections.abc import Iterator, Sequence
from functools import cache

import pytest

from tests.fakes.recordings import RECORDINGS, binary_spans, truths
from tocsin.model.span import Span
from tocsin.pricing.catalogue import PriceBook
from tocsin.runs.flight import PartOfRun
from tocsin.runs.fold import FoldedRun
from tocsin.runs.level_check import FoundBreach
from tocsin.runs.level_watch import LevelWatch
from tocsin.runs.limits import WorkflowSLA
from tocsin.runs.traces import TraceBook

NAMES = sorted(truths()) or [("none", "none")]
SLA = WorkflowSLA(
    max_tokens_per_request=1, max_cost_per_request=1e-9, max_first_token_seconds=1e-6, max_turns=1
)

pytestmark = pytest.mark.skipif(NAMES == [("none", "none")], reason=f"no {RECORDINGS.name}")


@cache
def spans_of(recording: str) -> dict[str, list[Span]]:
    return binary_spans(recording)


def orders(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """As they end, and in three other ways."""
    yield sorted(spans, key=lambda span: span.ended_ns)
    for seed in range(3):
        yield random.Random(seed).sample(spans, len(spans))


def fly(spans: Sequence[Span]) -> tuple[list[FoundBreach], list[FoldedRun], LevelWatch]:
    """Have spans come one by one; return what was told, and the runs that they are."""
    book = TraceBook(idle_s=1e9, patience_s=1e9)
    watch = LevelWatch({"*": SLA}, PriceBook(), book.so_far)
    found: list[FoundBreach] = []
    for position, span in enumerate(spans):
        book.add([span], position, position)
        found += watch.take([span], position)
    runs = [run for trace in book.settled(len(spans), everything=True) for run in trace.runs]
    return found, runs, watch


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_what_is_told_in_flight_is_true_in_the_end(name: tuple[str, str]) -> None:
    recording, scenario = name
    for spans in orders(spans_of(recording).get(scenario, [])):
        found, runs, watch = fly(spans)
        for one in found:
            (run,) = [r for r in runs if one.span_ids & {p.span.span_id for p in r.spans}]
            whole = PartOfRun(run.run, run.spans, is_identified=True)
            value = watch._values(whole, SLA)[one.breach.limit]
            assert value is not None
            assert value >= one.breach.value - 1e-12, one.breach.message


def test_libraries_whose_spans_name_their_workflow_are_told_of_in_flight() -> None:
    told = {
        recording
        for recording, scenario in NAMES
        if fly(next(orders(spans_of(recording).get(scenario, []))))[0]
    }
    assert told >= {"traceloop_langchain", "vercel_ai_sdk_v6"}
