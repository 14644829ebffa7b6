"""What the quality signals cost on the worker's thread, in µs a span, on the real SDK's spans.

The same recorded events are processed with every signal off, with the defaults, and with the data's
time read from a JSON output besides. The user's own thread does nothing for them.
"""

import json
import random
import statistics
import time
from typing import Any, Final

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
from tocsin.quality.settings import Quality, ToolData
from tocsin.sources.agents_sdk.events import SPAN_END, Event
from tocsin.sources.agents_sdk.processor import EventProcessor

RUNS: Final = 500
TURNS: Final = 6
ROUNDS: Final = 15
TEXT: Final = ResponseOutputText.model_construct(type="output_text", text="ok", annotations=[])
MESSAGE: Final = ResponseOutputMessage.model_construct(type="message", content=[TEXT])
OUTPUT: Final = json.dumps({"rows": [{"id": n, "at": "2026-06-01T12:00:00Z"} for n in range(40)]})
VARIANTS: Final = {
    "off": None,
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
                    tool.span_data.output = OUTPUT


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


def cost_us(events: list[Event], quality: Quality | None) -> float:
    """CPU time of processing all events, per span."""
    watcher = Watcher(watch_runner=False)
    watcher.watch_quality(quality)
    started = time.thread_time_ns()
    for event in events:
        watcher._process(event)
    spent = time.thread_time_ns() - started
    watcher.close()
    return spent / 1e3 / sum(event[0] == SPAN_END for event in events)


def main() -> None:
    events = record()
    samples: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            samples[name].append(cost_us(events, VARIANTS[name]))
    base = statistics.median(samples["off"])
    print(f"µs of CPU a span on the worker, medians of {ROUNDS} rounds of {RUNS} runs")
    for name, found in samples.items():
        middle = statistics.median(found)
        print(f"  {name:22}{middle:7.2f}  {middle - base:+.2f}  (least {min(found):.2f})")


if __name__ == "__main__":
    main()
