"""What hard limits and budgets cost the Agents SDK: added microseconds for each LLM call.

Cost, added for each LLM call with all limits on. Hooks alone: around one call with a tool call, on
a conversation of some length, time after time. Hooks in runs: the same in real SDK runs of an
instant model, where the SDK's own 2 ms of work between two calls have emptied the caches. Whole
runs: CPU time of the thread, against the same run without hooks and with the user's own empty
hooks, in random order; that is more again, because what ours push out of the caches the SDK has to
fetch back.

How soon somebody hears of a limit that was passed: limit_delay.py.

`--check` exits with 1 where hooks in runs take more than 50 microseconds (median).
"""

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, RunHooks, Runner, function_tool
from agents.tracing import set_trace_processors
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall

import tocsin
from tocsin.app.run_limits import GuardHooks
from tocsin.app.watcher import Watcher
from tocsin.sources.agents_sdk.events import Ticket

COST_US = 50.0
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
STEPS = ("on_llm_start", "on_llm_end", "on_tool_start", "on_tool_end")


def answer(number: int) -> ModelResponse:
    """An answer that calls the tool, with other arguments each time."""
    call = ResponseFunctionToolCall(
        arguments=f'{{"key": "{number}"}}',
        call_id=f"c{number}",
        name="lookup",
        type="function_call",
    )
    return ModelResponse(output=[call], usage=USAGE, response_id=None)


class Endless(Model):
    """Answers at once, and never in the end."""

    model = "gpt-4.1"

    def __init__(self) -> None:
        self.count = 0

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        self.count += 1
        return answer(self.count)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@function_tool
async def lookup(key: str) -> str:
    return key


def conversation(items: int) -> list[dict[str, object]]:
    return [{"role": "user", "content": "x" * 200} for _ in range(items)]


async def hooks_alone(watcher: Watcher, hooks_of: Any, items: int, count: int) -> list[float]:
    """Microseconds of the hooks around each LLM call and its tool, the user's own hooks empty."""
    config = RunConfig(workflow_name="limited")
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


def report_hooks(watcher: Watcher, count: int) -> None:
    print(f"{'hooks alone, µs by call':44}{'median':>8}{'p99':>8}")
    for items in (1, 50, 500):
        ours, none = [], []
        for _ in range(5):
            ours += asyncio.run(
                hooks_alone(watcher, lambda limits: limits.kwargs["hooks"], items, count)
            )
            none += asyncio.run(hooks_alone(watcher, lambda _: RunHooks(), items, count))
        off = statistics.median(none)
        print(f"  {f'conversation of {items} items and more':42}{spread([x - off for x in ours])}")


def spread(values: list[float]) -> str:
    values = sorted(values)
    return f"{statistics.median(values):8.1f}{values[int(len(values) * 0.99)]:8.1f}"


class Stopwatch:
    """Times the guard's hooks where they are: in whole runs."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {name: [] for name in STEPS}

    def timed(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        taken = self.steps[name]

        async def hook(*args: Any) -> None:
            start = time.perf_counter()
            await step(*args)
            taken.append((time.perf_counter() - start) * 1e6)

        return hook

    def __enter__(self) -> "Stopwatch":
        self._before = {name: getattr(GuardHooks, name) for name in STEPS}
        for name, step in self._before.items():
            setattr(GuardHooks, name, self.timed(name, step))
        return self

    def __exit__(self, *_: object) -> None:
        for name, step in self._before.items():
            setattr(GuardHooks, name, step)


async def one_run(workflow: str, model: Endless, hooks: Any = None) -> float:
    """Microseconds of the loop's thread for each LLM call of a run."""
    agent = Agent(name="A", model=model, tools=[lookup])
    config = RunConfig(workflow_name=workflow)
    start = time.thread_time()
    try:
        await Runner.run(agent, "hi", run_config=config, max_turns=CALLS, hooks=hooks)
    except tocsin.LimitExceeded:
        raise
    except Exception:  # noqa: BLE001 - that it ran out of turns is the plan
        return (time.thread_time() - start) * 1e6 / CALLS
    raise AssertionError("the run should have run out of turns")


class EmptyHooks(RunHooks[Any]):
    """What a user might have."""


KINDS: dict[str, tuple[str, Callable[[], Any]]] = {
    "no hooks": ("unlimited", lambda: None),
    "empty hooks of the user": ("unlimited", EmptyHooks),
    "all limits on": ("limited", lambda: None),
}


async def whole_runs(rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    model = Endless()
    for number in range(rounds + 3):
        for kind in random.sample(list(KINDS), len(KINDS)):
            workflow, hooks = KINDS[kind]
            cost = await one_run(workflow, model, hooks())
            if number >= 3:
                taken[kind].append(cost)
    return taken


def report_runs(rounds: int) -> float:
    """Return what hooks take in runs."""
    with Stopwatch() as watch:
        asyncio.run(whole_runs(max(5, rounds // 3)))
    print("\nhooks in runs, µs by call (caches are cold)")
    inside = {name: statistics.median(steps) for name, steps in watch.steps.items()}
    parts = "  ".join(f"{name} {median:.1f}" for name, median in inside.items())
    print(f"  {'sum of medians':42}{sum(inside.values()):8.1f}   {parts}")
    taken = asyncio.run(whole_runs(rounds))
    print(f"\nwhole runs of {CALLS} calls, µs of CPU by call, {rounds} rounds")
    print(f"  {'':26}{'median':>8}   added to no hooks: median [quartiles]")
    for kind, costs in taken.items():
        pairs = zip(costs, taken["no hooks"], strict=True)
        low, middle, high = statistics.quantiles([one - other for one, other in pairs], n=4)
        print(f"  {kind:26}{statistics.median(costs):8.0f}   {middle:6.0f} [{low:.0f}, {high:.0f}]")
    return sum(inside.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 for a broken promise")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--budgets", type=int, default=3, help="beside the limits; default 3")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    random.seed(1)
    watcher = Watcher()
    set_trace_processors([])  # limits need no spans, and what those cost is sdk_overhead.py's
    watcher.add_stops({"limited": ALL})
    watcher.add_budgets(
        [
            tocsin.Budget(f"b{n}", limit=10**6, stop_at=1, workflow="limited")
            for n in range(options.budgets)
        ]
    )
    try:
        report_hooks(watcher, 20 * options.rounds)
        cost_us = report_runs(options.rounds)
    finally:
        watcher.close()
    is_kept = cost_us < COST_US
    verdict = "kept" if is_kept else "broken"
    print(f"\npromise: hooks in runs below {COST_US:.0f} µs by call (median): {verdict}")
    return int(options.check and not is_kept)


if __name__ == "__main__":
    sys.exit(main())
