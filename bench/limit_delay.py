"""How soon an alert service hears of a limit that was passed, with a thousand runs open.

From the moment the limit was passed: tokens and cost, when the call that did it was answered;
latency, when the time was up. Real SDK runs of a model that answers after 10 ms. The other runs
call their model every 20 seconds or so. How late a timer of the event loop was meanwhile tells
what of the delay is the machine's. `--check` exits with 1 where p99 is a second or more.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import statistics
import sys
import time
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, function_tool
from agents.tracing import generation_span, set_trace_processors
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall

import tocsin
from tocsin.app.watcher import Watcher

OPEN_RUNS = 1_000
PAUSES_S = (10.0, 30.0)
"""Of the runs that are open meanwhile, between two of their calls."""
LIMIT_S = 0.3
LIMITS: dict[str, Any] = {
    "tokens, service level": tocsin.WorkflowSLA(max_tokens_per_request=1_000),
    "cost, service level": tocsin.WorkflowSLA(max_cost_per_request=0.001),
    "latency, service level": tocsin.WorkflowSLA(LIMIT_S),
    "tokens, hard stop": tocsin.StopLimits(max_tokens=1_000),
    "cost, hard stop": tocsin.StopLimits(max_cost=0.001),
    "latency, hard stop": tocsin.StopLimits(max_latency=LIMIT_S),
}
USAGE: dict[str, Any] = {"input_tokens": 1_000, "output_tokens": 50}
DELAY_S = 1.0
LOOP = "a timer of the loop"


class Pager:
    """An alert service that notes when it heard of a workflow."""

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}

    def send(self, *, severity: str, message: str) -> None:
        self.heard.setdefault(message.partition(":")[0], time.monotonic())


class Slow(Model):
    """Answers after a while with a call of a tool, never in the end; notes when that was."""

    model = "gpt-4.1"

    def __init__(self, least_s: float, most_s: float) -> None:
        self._pauses_s = least_s, most_s
        self.answered: list[float] = []

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        with generation_span(model=self.model, usage=USAGE):
            await asyncio.sleep(random.uniform(*self._pauses_s))
            self.answered.append(time.monotonic())
        count = len(self.answered)
        call = ResponseFunctionToolCall(
            arguments=f'{{"key": "{count}"}}',
            call_id=f"c{count}",
            name="lookup",
            type="function_call",
        )
        return ModelResponse(output=[call], usage=Usage(requests=1, **USAGE), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@function_tool
async def lookup(key: str) -> str:
    return key


async def run(workflow: str, model: Slow, turns: int) -> None:
    """Run until the turns are over, or a limit says so."""
    agent = Agent(name="A", model=model, tools=[lookup])
    config = RunConfig(workflow_name=workflow)
    with contextlib.suppress(Exception):
        await Runner.run(agent, "hi", run_config=config, max_turns=turns)


async def cross(kind: str, workflow: str) -> float:
    """Run into a limit; return the moment at which it was passed."""
    if kind.startswith("latency"):
        started_s = time.monotonic()
        await run(workflow, Slow(2 * LIMIT_S, 2 * LIMIT_S), 1)
        return started_s + LIMIT_S
    model = Slow(0.01, 0.01)
    await run(workflow, model, 2)
    return model.answered[0]


async def lag(late: list[float]) -> None:
    """Note how late a timer of the loop is, time after time."""
    while True:
        due_s = time.monotonic() + 0.02
        await asyncio.sleep(0.02)
        late.append(time.monotonic() - due_s)


async def crossings(pager: Pager, count: int) -> dict[str, list[float]]:
    """Delays by limit, in seconds."""
    others = [asyncio.create_task(run("other", Slow(*PAUSES_S), 10**6)) for _ in range(OPEN_RUNS)]
    await asyncio.sleep(PAUSES_S[0])  # until all have begun
    delays: dict[str, list[float]] = {kind: [] for kind in LIMITS}
    others.append(asyncio.create_task(lag(delays.setdefault(LOOP, []))))
    passed: dict[str, tuple[str, float]] = {}

    async def one(kind: str, workflow: str) -> None:
        passed[workflow] = kind, await cross(kind, workflow)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            for kind in LIMITS:
                group.create_task(one(kind, f"{kind} {number}"))
                await asyncio.sleep(random.uniform(0, 0.04))
    deadline_s = time.monotonic() + 10
    while len(pager.heard) < len(passed) and time.monotonic() < deadline_s:
        await asyncio.sleep(0.1)
    assert not any(other.done() for other in others)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for workflow, (kind, at_s) in passed.items():
        delays[kind].append(pager.heard[workflow] - at_s)  # one never heard of is an error
    return delays


def report(count: int) -> float:
    """Print delays, and return the worst p99 in seconds."""
    watcher, pager = Watcher(), Pager()
    set_trace_processors([watcher.processor])
    names = {kind: [f"{kind} {number}" for number in range(count)] for kind in LIMITS}
    slas = {name: limit for kind, limit in LIMITS.items() for name in names[kind]}
    stops = {name: limit for name, limit in slas.items() if isinstance(limit, tocsin.StopLimits)}
    watcher.add_slas({name: slas[name] for name in slas.keys() - stops.keys()}, pager)
    watcher.add_stops(stops)
    try:
        delays = asyncio.run(crossings(pager, count))
    finally:
        set_trace_processors([])
        watcher.close()
    print(
        f"\nfrom passing a limit to the alert service, ms, {OPEN_RUNS} runs open, {count} of each"
    )
    print(f"  {'':26}{'p50':>8}{'p99':>8}{'max':>8}")
    worst = 0.0
    for kind, found in delays.items():
        cuts = statistics.quantiles(found, n=100, method="inclusive")
        worst = max(worst, 0.0 if kind == LOOP else cuts[98])
        print(f"  {kind:26}{cuts[49] * 1e3:8.0f}{cuts[98] * 1e3:8.0f}{max(found) * 1e3:8.0f}")
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 for a broken promise")
    parser.add_argument("--crossings", type=int, default=100, help="of each limit")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    random.seed(1)
    is_kept = report(options.crossings) < DELAY_S
    verdict = "kept" if is_kept else "broken"
    print(f"\npromise: the alert service hears within {DELAY_S:.0f} s (p99): {verdict}")
    return int(options.check and not is_kept)


if __name__ == "__main__":
    sys.exit(main())
