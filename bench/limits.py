"""What hard limits and budgets cost the Agents SDK: added microseconds for each LLM call.

Two figures. Steps: what the guard's hooks add around one LLM call with a tool call, alone, on a
conversation of some length. Whole runs: real SDK runs of an instant model, with all limits on and
off, interleaved in random order; the difference by call, which is larger, because between two calls
the SDK's own work empties the caches. `--check` exits with 1 where the steps alone take more than
50 microseconds (median).
"""

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, RunHooks, Runner, function_tool
from agents.tracing import set_trace_processors
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall

import tocsin
from tocsin.app.watcher import Watcher
from tocsin.sources.agents_sdk.events import Ticket

PROMISE_US = 50.0
CALLS = 20
ALL = tocsin.StopLimits(
    max_tokens=10**12,
    max_cost="1000000 USD",
    max_latency="1h",
    max_turns=10**9,
    same_tool_call=10**9,
    warn_at=0.8,
    switch_at=0.9,
    switch={"gpt-4.1": "gpt-4.1-mini"},
)
USAGE = Usage(requests=1, input_tokens=1_000, output_tokens=50, total_tokens=1_050)


class Endless(Model):
    """Answers at once with a call of a tool."""

    model = "gpt-4.1"

    def __init__(self) -> None:
        self.count = 0

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        self.count += 1
        call = ResponseFunctionToolCall(
            arguments=f'{{"key": "{self.count}"}}',
            call_id=f"c{self.count}",
            name="lookup",
            type="function_call",
        )
        return ModelResponse(output=[call], usage=USAGE, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@function_tool
async def lookup(key: str) -> str:
    return key


def conversation(items: int) -> list[dict[str, object]]:
    return [{"role": "user", "content": "x" * 200} for _ in range(items)]


async def steps(watcher: Watcher, hooks_of: Any, items: int, count: int) -> list[float]:
    """Microseconds of the hooks around each LLM call and its tool, the user's own hooks empty."""
    config = RunConfig(workflow_name="job")
    agent = SimpleNamespace(model="gpt-4.1", model_settings=None, name="A")
    context = SimpleNamespace(tool_arguments='{"key": "a"}')
    response, said = SimpleNamespace(usage=USAGE), conversation(items)
    taken = []
    with watcher.stops.enter(Ticket(), {"run_config": config}) as limits:
        hooks = hooks_of(limits)
        for _ in range(count):
            said.append({"role": "user", "content": "y" * 200})
            turn = list(said)
            start = time.perf_counter()
            await hooks.on_llm_start(context, agent, "Help.", turn)
            await hooks.on_llm_end(context, agent, response)
            await hooks.on_tool_start(context, agent, lookup)
            await hooks.on_tool_end(context, agent, lookup, "a")
            taken.append((time.perf_counter() - start) * 1e6)
    return taken


def report_steps(watcher: Watcher, count: int) -> float:
    print(f"{'hooks around one LLM call and its tool, µs':44}{'median':>8}{'p99':>8}")
    worst = 0.0
    for items in (1, 50, 500):
        ours, none = [], []
        for _ in range(5):
            ours += asyncio.run(steps(watcher, lambda limits: limits.kwargs["hooks"], items, count))
            none += asyncio.run(steps(watcher, lambda _: RunHooks(), items, count))
        off = statistics.median(none)
        added = sorted(one - off for one in ours)
        median, p99 = statistics.median(added), added[int(len(added) * 0.99)]
        worst = max(worst, median)
        print(f"  {f'conversation of {items} items and more':42}{median:8.1f}{p99:8.1f}")
    return worst


async def one_run(workflow: str, model: Endless) -> float:
    """Microseconds of the loop's thread for each LLM call of a run."""
    agent = Agent(name="A", model=model, tools=[lookup])
    config = RunConfig(workflow_name=workflow)
    start = time.thread_time()
    try:
        await Runner.run(agent, "hi", run_config=config, max_turns=CALLS)
    except tocsin.LimitExceeded:
        raise
    except Exception:  # noqa: BLE001 - that it ran out of turns is the plan
        return (time.thread_time() - start) * 1e6 / CALLS
    raise AssertionError("the run should have run out of turns")


async def whole_runs(rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {"limited": [], "unlimited": []}
    model = Endless()
    for number in range(rounds + 3):
        pair = {}
        for workflow in random.sample(list(taken), 2):
            pair[workflow] = await one_run(workflow, model)
            await asyncio.sleep(0.06)  # the worker is done with it
        if number >= 3:
            for workflow, cost in pair.items():
                taken[workflow].append(cost)
    return taken


def report_runs(rounds: int) -> None:
    taken = asyncio.run(whole_runs(rounds))
    off, on = (statistics.median(taken[name]) for name in ("unlimited", "limited"))
    pairs = zip(taken["limited"], taken["unlimited"], strict=True)
    added = statistics.median(one - other for one, other in pairs)
    print(f"\nwhole runs of {CALLS} LLM calls, thread time in µs by call, {rounds} pairs")
    print(
        f"  limits off {off:8.1f}   all limits on {on:8.1f}   added (median of pairs) {added:6.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 for a broken promise")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--budgets", type=int, default=3, help="beside the limits; default 3")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    random.seed(1)
    watcher = Watcher()
    set_trace_processors([watcher.processor])
    watcher.add_stops({"job": ALL, "limited": ALL})
    watcher.add_budgets(
        [
            tocsin.Budget(f"b{n}", limit=10**6, stop_at=1, workflow=["job", "limited"])
            for n in range(options.budgets)
        ]
    )
    try:
        worst = report_steps(watcher, 20 * options.rounds)
        report_runs(options.rounds)
    finally:
        set_trace_processors([])
        watcher.close()
    is_kept = worst < PROMISE_US
    verdict = "kept" if is_kept else "broken"
    print(f"\npromise: less than {PROMISE_US:.0f} µs by call for the hooks alone: {verdict}")
    return int(options.check and not is_kept)


if __name__ == "__main__":
    sys.exit(main())
