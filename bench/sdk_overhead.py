"""What watching costs the Agents SDK: on the caller's thread, in its event loop, on the worker.

All variants run in one process, interleaved in random order, on real SDK spans. `--check` exits
with 1 where a promise is broken: a span with Tocsin takes at most 1.15 times what it takes with a
processor that does nothing (medians of the caller's thread, in bursts).
"""

import argparse
import asyncio
import logging
import random
import statistics
import sys
import threading
import time
from datetime import datetime
from typing import Any

from agents.tracing import (
    TracingProcessor,
    agent_span,
    function_span,
    response_span,
    set_trace_provider,
    task_span,
    trace,
    turn_span,
)
from agents.tracing.processor_interface import TracingExporter
from agents.tracing.processors import BatchTraceProcessor
from agents.tracing.provider import DefaultTraceProvider
from agents.tracing.spans import Span
from agents.tracing.traces import Trace
from openai.types.responses import Response, ResponseUsage
from prometheus_client import CollectorRegistry, Counter, Histogram

from tocsin.app import worker as worker_module
from tocsin.app.watcher import Watcher

SPANS_PER_RUN = 8
BURSTS = (2, 8, 25)
"""Runs made without a pause. The more spans wait for the worker, the colder the memory of new ones
and the likelier a garbage collection, which no processor that keeps spans can avoid."""
LIMIT = 1.15
NO_OP = "no-op processor"
OURS = "tocsin"
BARE = "no processor"
NAIVE = "2 fromisoformat, histogram, counter"
NOT_QUEUED = (BARE, NO_OP, NAIVE)
YIELDS = (1, 2, 4, 8, 32, 1_000_000)
LOOP_SECONDS = 0.6
SPANS_PER_SECOND = 2_000


class NoOp(TracingProcessor):
    def on_trace_start(self, trace: Trace) -> None:
        pass

    def on_trace_end(self, trace: Trace) -> None:
        pass

    def on_span_start(self, span: Span[Any]) -> None:
        pass

    def on_span_end(self, span: Span[Any]) -> None:
        pass

    def shutdown(self, timeout: float | None = None) -> None:
        pass

    def force_flush(self) -> None:
        pass


class Naive(NoOp):
    """What people write first: parse both times, observe a histogram, add to a counter."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._duration = Histogram("span_seconds", "Spans.", ["type"], registry=registry)
        self._spans = Counter("spans", "Spans.", ["type"], registry=registry)

    def on_span_end(self, span: Span[Any]) -> None:
        started = datetime.fromisoformat(span.started_at or "")
        ended = datetime.fromisoformat(span.ended_at or "")
        kind = span.span_data.type
        self._duration.labels(kind).observe((ended - started).total_seconds())
        self._spans.labels(kind).inc()


class Discard(TracingExporter):
    def export(self, items: list[Trace | Span[Any]]) -> None:
        for item in items:
            item.export()


RESPONSE = Response.model_construct(
    id="resp_1",
    model="gpt-4.1-mini-2025-04-14",
    service_tier="default",
    output=[],
    usage=ResponseUsage.model_construct(input_tokens=1200, output_tokens=85, total_tokens=1285),
)


def usage() -> dict[str, Any]:
    """Count tokens as the SDK writes them on spans."""
    return {
        "requests": 1,
        "input_tokens": 1200,
        "output_tokens": 85,
        "total_tokens": 1285,
        "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 32},
    }


def emit_run(workflow: str = "customer-support") -> None:
    """Make the spans of a run with two turns and two tool calls: SPANS_PER_RUN of them."""
    with trace(workflow), task_span(workflow) as task, agent_span("triage", tools=["lookup"]):
        for turn in (1, 2):
            with turn_span(turn, "triage") as turn_data:
                with response_span() as response:
                    response.span_data.response = RESPONSE
                    response.span_data.usage = usage()
                with function_span("lookup", input='{"order": 17}') as tool:
                    tool.span_data.output = "shipped"
                turn_data.span_data.usage = usage()
        task.span_data.usage = usage()


def burst(runs: int) -> int:
    """Make runs without a pause; return their number of spans."""
    for _ in range(runs):
        emit_run()
    return runs * SPANS_PER_RUN


class Stage:
    """A private trace provider whose processor is swapped between measurements."""

    def __init__(self) -> None:
        self.provider = DefaultTraceProvider()
        set_trace_provider(self.provider)
        self.watcher = Watcher(watch_runner=False)
        self.batch = BatchTraceProcessor(Discard())
        self.variants: dict[str, list[TracingProcessor]] = {
            BARE: [],
            NO_OP: [NoOp()],
            OURS: [self.watcher.processor],
            "SDK's batch processor": [self.batch],
            NAIVE: [Naive()],
        }

    def use(self, name: str) -> None:
        self.provider.set_processors(self.variants[name])

    def drain(self) -> None:
        self.watcher.flush(30)
        BatchTraceProcessor.force_flush(self.batch)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.provider.set_processors([])
        self.watcher.close()
        self.batch.shutdown(timeout=1)


def timed_burst(runs: int) -> tuple[float, float]:
    """CPU time of this thread and wall time of a burst, µs a span."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    spans = burst(runs)
    cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
    return cpu / 1e3 / spans, wall / 1e3 / spans


def measure_bursts(stage: Stage, runs: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """µs per span (CPU, wall) of each variant, one sample a round.

    Each burst begins at a random moment of the worker's 50 ms cycle and is drained after.
    """
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in stage.variants}
    order = list(stage.variants)
    for round_number in range(rounds + 3):
        random.shuffle(order)
        for name in order:
            stage.use(name)
            time.sleep(random.uniform(0, 0.05))
            sample = timed_burst(runs)
            if round_number >= 3:
                results[name].append(sample)
            if name not in NOT_QUEUED:
                stage.drain()
    return results


def report_bursts(runs: int, results: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Print medians, spreads and ratios to the no-op processor; return the ratios of ours."""
    ours: dict[str, float] = {}
    spans = runs * SPANS_PER_RUN
    print(f"\nµs per span on the caller's thread, bursts of {spans} spans")
    print(f"{'':45}{'median':>7}{'IQR':>14}{'ratio':>7}")
    for column, clock in enumerate(("CPU", "wall")):
        base = statistics.median(sample[column] for sample in results[NO_OP])
        for name, samples in results.items():
            low, middle, high = statistics.quantiles([sample[column] for sample in samples], n=4)
            spread, ratio = f"{low:.2f}-{high:.2f}", middle / base
            print(f"  {clock:5}{name:38}{middle:7.2f}{spread:>14}{ratio:7.3f}")
            if name == OURS:
                ours[f"{clock}, {spans} spans"] = ratio
    return ours


def report_saturated(stage: Stage, seconds: float = 2.0) -> None:
    """Print what happens to a caller that makes spans without ever pausing."""
    print(f"\nno pause for {seconds:.0f} s (more than any agent makes), µs per span")
    for name in (NO_OP, OURS):
        stage.use(name)
        dropped, samples, deadline = stage.watcher.queue.dropped, [], time.monotonic() + seconds
        while time.monotonic() < deadline:
            samples.append(timed_burst(25))
        cpu, wall = (statistics.mean(column) for column in zip(*samples, strict=True))
        spans, lost = len(samples) * 25 * SPANS_PER_RUN, stage.watcher.queue.dropped - dropped
        print(f"  {name:20}CPU {cpu:6.2f}  wall {wall:6.2f}  {spans:,} spans, {lost:,} events lost")
        stage.drain()


def report_throughput(stage: Stage) -> None:
    """Print how fast the worker works through a queue that was filled before it looked."""
    stage.use(OURS)
    rates, costs = [], []
    for _ in range(9):
        emit_run()
        stage.drain()
        thread = next(found for found in threading.enumerate() if found.name == "tocsin")
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        wall, cpu = time.perf_counter(), time.clock_gettime_ns(clock)
        spans = burst(250)
        stage.watcher.flush(30)
        costs.append((time.clock_gettime_ns(clock) - cpu) / 1e3 / spans)
        rates.append(spans / (time.perf_counter() - wall))
    cost, rate = statistics.median(costs), statistics.median(rates)
    print("\nworker, for a span's start and end and its share of the trace's")
    print(f"  {cost:.1f} µs of CPU a span, {1e6 / cost:,.0f} spans/s")
    print(f"  {rate:,.0f} spans/s made, handed over and counted, by two threads in one process")


async def lateness(seconds: float) -> list[float]:
    """How late 1 ms timers of an event loop fire, in µs, ascending."""
    late, deadline = [], time.perf_counter() + seconds
    while (now := time.perf_counter()) < deadline:
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - now - 0.001) * 1e6)
    return sorted(late)


def emit_steadily(stop: threading.Event) -> None:
    """Make SPANS_PER_SECOND spans a second, a few runs at a time, in this thread."""
    runs, interval_s = 4, 4 * SPANS_PER_RUN / SPANS_PER_SECOND
    due = time.perf_counter()
    while not stop.is_set():
        for _ in range(runs):
            emit_run()
        due += interval_s
        time.sleep(max(0.0, due - time.perf_counter()))


def loop_delay(stage: Stage, name: str) -> list[float]:
    """Timer lateness while another thread makes spans."""
    stage.use(name)
    stop = threading.Event()
    thread = threading.Thread(target=emit_steadily, args=(stop,))
    thread.start()
    try:
        return asyncio.run(lateness(LOOP_SECONDS))
    finally:
        stop.set()
        thread.join()
        stage.drain()


def report_loop_delay(stage: Stage, rounds: int = 4) -> None:
    """Print timer lateness with and without Tocsin, for several ways to share the GIL."""
    print(f"\nlateness of 1 ms timers, µs, beside {SPANS_PER_SECOND:,} spans/s of another thread")
    print(f"{'':38}{'p50':>8}{'p99':>8}{'max':>8}   (medians of {rounds} rounds)")
    usual = worker_module.YIELD_EVERY
    results: dict[int, list[tuple[float, ...]]] = {every: [] for every in (0, *YIELDS)}
    order = list(results)
    for _ in range(rounds):
        random.shuffle(order)
        for every in order:
            setattr(worker_module, "YIELD_EVERY", every or usual)  # noqa: B010 - Final to others
            late = loop_delay(stage, OURS if every else NO_OP)
            results[every].append((statistics.median(late), late[int(len(late) * 0.99)], late[-1]))
    setattr(worker_module, "YIELD_EVERY", usual)  # noqa: B010
    for every, samples in results.items():
        label = f"{OURS}, GIL offered every {every:,}" if every else NO_OP
        p50, p99, worst = (statistics.median(column) for column in zip(*samples, strict=True))
        print(f"  {label:36}{p50:8.0f}{p99:8.0f}{worst:8.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 for a broken promise")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    random.seed(1)
    stage = Stage()
    ratios: dict[str, float] = {}
    try:
        for runs in BURSTS:
            ratios |= report_bursts(runs, measure_bursts(stage, runs, options.rounds))
        report_saturated(stage)
        report_throughput(stage)
        report_loop_delay(stage)
    finally:
        stage.close()
    broken = ", ".join(f"{what}: {ratio:.3f}" for what, ratio in ratios.items() if ratio > LIMIT)
    print(f"\npromise: at most {LIMIT} x no-op: {'broken: ' + broken if broken else 'kept'}")
    return int(options.check and bool(broken))


if __name__ == "__main__":
    sys.exit(main())
