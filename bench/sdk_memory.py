"""How far a process grows over a million watched spans, well-behaved and hostile.

The spans are bare objects that look like the SDK's, which would double the time. `--check` exits
with 1 where growth is more than LIMIT_MB.
"""

import argparse
import gc
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psutil
from agents.tracing import (
    AgentSpanData,
    FunctionSpanData,
    GenerationSpanData,
    SpanData,
    TaskSpanData,
)

from tocsin.app import worker as worker_module
from tocsin.app.watcher import Watcher

LIMIT_MB = 30.0
SPANS = 1_000_000
WARM_UP = 50_000
LOST_SPANS = 40_000

IDS = count()
Emit = Callable[[Any, int], int]
"""Hands spans to a processor, all named after a number; returns how many."""


@dataclass(slots=True)
class Trace:
    name: str
    group_id: str | None = None
    trace_id: str = field(default_factory=lambda: f"trace_{next(IDS):032x}")


@dataclass(slots=True)
class Span:
    trace_id: str
    span_data: SpanData
    parent_id: str | None = None
    span_id: str = field(default_factory=lambda: f"span_{next(IDS):024x}")
    started_at: str | None = None
    ended_at: str | None = None
    error: object = None


def emit_run(
    processor: Any, workflow: str, model: str, tool: str, group_id: str | None = None
) -> int:
    """Make a run of four spans."""
    trace = Trace(workflow, group_id)
    usage = {"input_tokens": 1200, "output_tokens": 85}
    task = Span(trace.trace_id, TaskSpanData(workflow))
    agent = Span(trace.trace_id, AgentSpanData("A"), task.span_id)
    call = Span(trace.trace_id, GenerationSpanData(model=model, usage=usage), agent.span_id)
    done = Span(trace.trace_id, FunctionSpanData(tool, f'{{"w": "{workflow}"}}', ""), agent.span_id)
    processor.on_trace_start(trace)
    for span in (task, agent, call, done):
        processor.on_span_start(span)
    for span in (done, call, agent, task):
        processor.on_span_end(span)
    processor.on_trace_end(trace)
    return 4


def plain(processor: Any, number: int) -> int:
    """Repeat a few workflows, models and tools, as programs do."""
    return emit_run(processor, f"workflow-{number % 5}", "gpt-4o", f"tool-{number % 10}")


def new_workflows(processor: Any, number: int) -> int:
    """Give each run a workflow of its own, with a long name, and nothing else."""
    trace = Trace(f"w{number} " * 30)
    task = Span(trace.trace_id, TaskSpanData(trace.name))
    processor.on_trace_start(trace)
    processor.on_span_start(task)
    processor.on_span_end(task)
    processor.on_trace_end(trace)
    return 1


def new_everything(processor: Any, number: int) -> int:
    """Give each run a model, a tool and a conversation of its own, too."""
    name = f"w{number} " * 30
    return emit_run(processor, name, f"model-{number}", f"tool-{number}", f"chat-{number}")


def orphans(processor: Any, number: int) -> int:
    """Start a run and a call that never end."""
    trace = Trace(f"lost-{number}")
    processor.on_trace_start(trace)
    agent = Span(trace.trace_id, AgentSpanData("A"))
    processor.on_span_start(agent)
    processor.on_span_start(
        Span(trace.trace_id, FunctionSpanData("lookup", "{}", None), agent.span_id)
    )
    return 2


MIXTURE = ((plain, 0.25), (new_workflows, 0.5), (new_everything, 0.25))


def feed(watcher: Watcher, emit: Emit, spans: int) -> None:
    """Make so many spans, as fast as the worker keeps up."""
    made = 0
    for number in count():
        made += emit(watcher.processor, number)
        if number % 500 == 499:
            while len(watcher.queue) > 2_000:
                time.sleep(0.01)
        if made >= spans:
            break
    watcher.flush(60)


def rss_mb() -> float:
    """Resident memory of this process after a full collection, in MB (10^6 bytes)."""
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 for a broken promise")
    parser.add_argument("--spans", type=int, default=SPANS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    setattr(worker_module, "YIELD_EVERY", 1 << 30)  # noqa: B010 - nobody here waits for the GIL
    watcher = Watcher(watch_runner=False, run_ttl_s=3600)
    feed(watcher, plain, WARM_UP)
    first = before = rss_mb()
    print(f"resident memory after {WARM_UP:,} spans: {before:.1f} MB")
    for emit, share in MIXTURE:
        spans = int(options.spans * share)
        started = time.perf_counter()
        feed(watcher, emit, spans)
        after = rss_mb()
        speed = spans / (time.perf_counter() - started)
        print(f"  {spans:9,} spans, {emit.__name__:14} {after - before:+7.1f} MB {speed:9,.0f}/s")
        before = after
    growth = before - first
    feed(watcher, orphans, LOST_SPANS)
    open_runs = len(watcher.pipeline.tracker.open_runs)
    print(f"beside that, {open_runs:,} runs open at once (the limit): {rss_mb() - before:+.1f} MB")
    print(f"dropped events: {watcher.queue.dropped}, internal errors: {watcher.worker.errors}")
    watcher.close()
    print(f"promise: under {LIMIT_MB:.0f} MB over {options.spans:,} spans: {growth:.1f} MB")
    return int(options.check and growth > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
