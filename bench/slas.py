"""What service levels cost, in µs of CPU: kept in a program, watched in a server, and per breach.

In a program: the worker's pipeline without levels, and with five limits none of which is broken.
In a server: spans of Tocsin's exporter, for workflows without a level, with one, and with all five.
"""

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from tocsin.app.pipeline import Pipeline
from tocsin.model.span import Kind, Span, SpanStart, Usage
from tocsin.pricing.catalogue import PriceBook
from tocsin.quality.settings import OFF
from tocsin.quality.watch import QualityWatch
from tocsin.runs.level_watch import LevelWatch
from tocsin.runs.limits import WorkflowSLA
from tocsin.runs.tally import Tally
from tocsin.runs.traces import TraceBook
from tocsin.sources.tocsin_attributes import RUN_ID

RUNS: Final = 300
TURNS: Final = 5
ROUNDS: Final = 15
SLA: Final = WorkflowSLA(15.0, 10**9, 1e6, 2.0, 99)
USAGE: Final = Usage(100, 10)


class Script:
    """Writes down runs as they are told in a program."""

    def __init__(self) -> None:
        self.records: list[SpanStart | Span] = []
        self._now_ns = 0

    def run(self, trace_id: str) -> None:
        self.within(trace_id, Kind.RUN, "r", None, lambda: self.agent(trace_id))

    def agent(self, trace_id: str) -> None:
        self.within(trace_id, Kind.AGENT, "a", "r", lambda: self.turns(trace_id))

    def turns(self, trace_id: str) -> None:
        for number in range(TURNS):
            step = f"s{number}"
            self.within(trace_id, Kind.STEP, step, "a", partial(self.work, trace_id, step))

    def work(self, trace_id: str, step: str) -> None:
        self.within(trace_id, Kind.LLM, f"l{step}", step, lambda: None)
        self.within(trace_id, Kind.TOOL, f"t{step}", step, lambda: None)

    def within(
        self, trace_id: str, kind: Kind, name: str, parent: str | None, inside: Callable[[], None]
    ) -> None:
        began_ns, self._now_ns = self._now_ns, self._now_ns + 1000
        span_id = f"{trace_id}{name}"
        parent_id = None if parent is None else f"{trace_id}{parent}"
        start = SpanStart(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            kind=kind,
            name="x",
            workflow="w",
            started_ns=began_ns,
            started_mono_ns=began_ns,
        )
        self.records.append(start)
        inside()
        span = Span(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            kind=kind,
            name="x",
            started_ns=began_ns,
            ended_ns=self._now_ns,
            model="gpt-4o" if kind is Kind.LLM else None,
            usage=USAGE if kind is Kind.LLM else None,
            workflow="w",
            attributes={RUN_ID: trace_id},
        )
        self.records.append(span)


def in_program(records: list[SpanStart | Span], slas: dict[str, WorkflowSLA]) -> float:
    pipeline = Pipeline(PriceBook())
    pipeline.quality = QualityWatch(OFF)
    pipeline.add_slas(slas)
    started_s = time.thread_time()
    for record in records:
        pipeline.feed(record)
    return time.thread_time() - started_s


def in_server(bodies: list[list[Span]], slas: dict[str, WorkflowSLA]) -> float:
    book = TraceBook(max_spans=10**9)
    watch = LevelWatch(slas, PriceBook(), book.so_far)
    taken_s = 0.0
    for position, spans in enumerate(bodies):
        book.add(spans, position, 10**9)
        started_s = time.thread_time()
        watch.take(spans, 10**9)
        taken_s += time.thread_time() - started_s
    return taken_s


def per_breach(records: list[SpanStart | Span]) -> float:
    tally = Tally(0)
    for record in records[: 2 * (2 + 3 * TURNS)]:
        if isinstance(record, SpanStart):
            begin = (record.span_id, record.parent_id, record.kind, record.name, record.started_ns)
            tally.begin(*begin)
        else:
            taker = tally.end(record.span_id, record.kind, record.model, record.ended_ns)
            tally.add(taker, record.usage, None)
    started_s = time.thread_time()
    for _ in range(100):
        tally.contributors("latency", 1.0, 10**9)
    return (time.thread_time() - started_s) / 100


def main() -> None:
    script = Script()
    for number in range(RUNS):
        script.run(f"{number:032x}")
    spans = [record for record in script.records if isinstance(record, Span)]
    size = 2 + 3 * TURNS
    # All but the root: what a server hears of a run that goes on, in two bodies.
    runs = [spans[at : at + size - 1] for at in range(0, len(spans), size)]
    bodies = [half for run in runs for half in (run[:8], run[8:])]
    variants: dict[str, Callable[[], float]] = {
        "program, no levels": lambda: in_program(script.records, {}),
        "program, five limits": lambda: in_program(script.records, {"*": SLA}),
        "server, another workflow": lambda: in_server(bodies, {"other": SLA}),
        "server, tokens and latency": lambda: in_server(bodies, {"w": WorkflowSLA(15.0, 10**9)}),
        "server, five limits": lambda: in_server(bodies, {"w": SLA}),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    gc.freeze()
    for _ in range(ROUNDS):
        for name, measure in variants.items():
            taken[name].append(measure() / len(spans) * 1e6)
    for name, figures in taken.items():
        print(f"{name:28} {statistics.median(figures):6.2f} us a span")
    print(f"{'contributors of a breach':28} {per_breach(script.records) * 1e6:6.1f} us")


if __name__ == "__main__":
    main()
