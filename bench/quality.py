"""What the quality signals cost on the worker's thread, in µs a span, on the real SDK's spans.

Such events are processed as if there were no quality signals, with the defaults, and with the time
of the data read from a JSON output of 2 kB besides. The user's own thread does nothing for them.
"""

import json
import random
import statistics
import time
from contextlib import nullcontext
from typing import Any, Final
from unittest.mock import patch

from agents.tracing import (
    agent_span,
    function_span,
    response_span,
    set_trace_provider,
    task_span,
    trace,
    turn_span,
)
from agents.tracing.provider import DefaultTraceProvider
from openai.types.responses import Response, ResponseOutputMessage, ResponseOutputText

from tocsin.app.watcher import Watcher
from tocsin.model.finding import Finding
from tocsin.model.run import Run
from tocsin.model.span import Observation, Span
from tocsin.quality.freshness import UNKNOWN, Verdict
from tocsin.quality.settings import Quality, ToolData
from tocsin.quality.watch import QualityWatch
from tocsin.sources.agents_sdk import decode
from tocsin.sources.agents_sdk.events import SPAN_END, Event
from tocsin.sources.agents_sdk.processor import EventProcessor

RUNS: Final = 500
TURNS: Final = 6
ROUNDS: Final = 15
TEXT: Final = ResponseOutputText.model_construct(type="output_text", text="ok", annotations=[])
MESSAGE: Final = ResponseOutputMessage.model_construct(type="message", content=[TEXT])
OUTPUT: Final = json.dumps({"rows": [{"id": n, "at": "2026-06-01T12:00:00Z"} for n in range(40)]})
NONE: Final = "no quality signals"
VARIANTS: Final = {
    NONE: None,
    "defaults": Quality(),
    "and the data's time": Quality(
        tools={"lookup": ToolData(max_age_s=1e9, time_at="$.rows[-1].at")}
    ),
}


def usage(tokens: int) -> dict[str, int]:
    return {"requests": 1, "input_tokens": tokens, "output_tokens": 85}


def emit_run() -> None:
    with trace("support"), task_span("support"), agent_span("triage"):
        for turn in range(TURNS):
            with turn_span(turn, "triage"):
                with response_span() as call:
                    answer: Any = Response.model_construct(model="gpt-4o", output=[MESSAGE])
                    call.span_data.response = answer
                    call.span_data.usage = usage(1_000 * (turn + 1))
                with function_span("lookup", input=f'{{"order": {turn}}}') as tool:
                    # A new string: Python remembers the hash of one it has seen.
                    tool.span_data.output = f'{OUTPUT[:-1]}, "n": {turn}}}'


def record() -> list[Event]:
    """Events of RUNS runs, as the SDK's processor hands them over."""
    events: list[Event] = []
    provider = DefaultTraceProvider()
    provider.set_processors([EventProcessor(events.append, lambda _: None)])
    set_trace_provider(provider)
    for _ in range(RUNS):
        emit_run()
    provider.set_processors([])
    return events


class Nothing(QualityWatch):
    """Stands in for quality signals where there are none."""

    def judge(self, call: Span) -> Verdict:
        return UNKNOWN

    def started(self, run: Run, start: object) -> None:
        pass

    def ended(self, run: Run, observation: Observation) -> list[Finding]:
        return []

    def finished(self, run: Run) -> list[Finding]:
        return []


def without_quality(watcher: Watcher) -> Any:
    """Take what quality signals need out of a watcher, and for a while out of the decoder."""
    watcher.watch_quality(None)
    watcher.pipeline.quality = Nothing()
    return patch.multiple(decode, tool_result=lambda *_: None, ending=lambda *_: (None, False))


def cost_us(name: str) -> float:
    """CPU time of processing RUNS runs, per span."""
    events = record()
    watcher = Watcher(watch_runner=False)
    watcher.watch_quality(VARIANTS[name])
    with without_quality(watcher) if name == NONE else nullcontext():
        started = time.thread_time_ns()
        for event in events:
            watcher._process(event)
        spent = time.thread_time_ns() - started
    watcher.close()
    return spent / 1e3 / sum(event[0] == SPAN_END for event in events)


def main() -> None:
    samples: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            samples[name].append(cost_us(name))
    base = statistics.median(samples[NONE])
    print(f"µs of CPU a span on the worker, medians of {ROUNDS} rounds of {RUNS} runs")
    for name, found in samples.items():
        middle = statistics.median(found)
        print(f"  {name:22}{middle:7.2f}  {middle - base:+.2f}  (least {min(found):.2f})")


if __name__ == "__main__":
    main()
