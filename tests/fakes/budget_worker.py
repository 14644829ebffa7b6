"""A program whose runs spend a budget that it shares with others; told what to do on stdin.

python -m tests.fakes.budget_worker SERVER LLM; then lines {"name": ..., "runs": ...}
"""

import asyncio
import json
import logging
import sys
from collections import Counter
from typing import Any

from agents import (
    Agent,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    set_trace_processors,
)
from openai import AsyncOpenAI

import tocsin


@function_tool
def lookup(key: str) -> str:
    return f"value of {key}"


async def one_run(agent: Agent[Any], turns: int) -> str:
    try:
        config = RunConfig(workflow_name="shared")
        await Runner.run(agent, "hi", max_turns=turns, run_config=config)
    except tocsin.LimitExceeded as error:
        return error.limit
    except Exception as error:  # noqa: BLE001 - said to the test
        return type(error).__name__
    return "ok"


async def runs(client: AsyncOpenAI, task: dict[str, Any]) -> Counter[str]:
    """Start runs at once; each goes on until it has had so many turns, or is stopped."""
    name = task["name"]
    agent = Agent(
        name=name,
        instructions=name,
        model=OpenAIResponsesModel("gpt-4o", client),
        tools=[lookup],
    )
    return Counter(
        await asyncio.gather(*(one_run(agent, task["turns"]) for _ in range(task["runs"])))
    )


async def main(server: str, llm: str) -> None:
    watcher = tocsin.install(budgets_from=server, export_to=server)
    loop = asyncio.get_running_loop()
    async with AsyncOpenAI(base_url=llm, api_key="x", max_retries=0) as client:
        say({"ready": True})
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            outcomes = await runs(client, json.loads(line))
            unchecked = dict(watcher.stops.room.unchecked)
            say({"outcomes": outcomes, "unchecked": unchecked, "errors": watcher.worker.errors})


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    set_trace_processors([])
    asyncio.run(main(*sys.argv[1:]))
