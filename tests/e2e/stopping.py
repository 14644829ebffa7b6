"""Programs that run into hard limits, and what they leave behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from agents import Agent, OpenAIResponsesModel, RunConfig, Runner, function_tool
from openai import AsyncOpenAI

import tocsin
from tests.e2e.setup import Setup, drain
from tests.fakes.counts import Page
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import FakeLLM, Reply, Request, ToolCall, ToolCalls

Watch = Callable[..., Watcher]
Program = Callable[[Setup], Awaitable[object]]

PER_CALL = 150
"""Tokens of every answer of the fake model, of which it writes 30."""
CONFIG = RunConfig(workflow_name="job")


def run(llm: FakeLLM, program: Program) -> Any:
    async def main() -> object:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
            return await program(Setup(client))

    return asyncio.run(main())


def stopped(llm: FakeLLM, program: Program) -> tocsin.LimitExceeded:
    """Run a program that a limit stops."""
    with pytest.raises(tocsin.LimitExceeded) as caught:
        run(llm, program)
    return caught.value


def page(watcher: Watcher) -> Page:
    assert watcher.flush(10)
    found = Page(watcher.families())
    assert 0 == found.total("tocsin_internal_errors_total")
    assert 0 == found.total("tocsin_stop_unchecked_calls_total", reason="error")
    return found


def outcomes(watcher: Watcher) -> dict[str, float]:
    return page(watcher).by("agent_workflow_runs_total", "outcome")


def endless(name: str = "lookup") -> Callable[[Request], Reply]:
    """A model that never stops calling a tool, each time with other arguments."""
    return lambda request: ToolCalls((ToolCall(name, {"key": str(len(request.items))}),))


class Tool:
    """A tool that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

        @function_tool
        def lookup(key: str) -> str:
            self.calls += 1
            return f"value of {key}"

        self.tool = lookup


def looping(setup: Setup, *tools: Any, **options: Any) -> Agent[Any]:
    return Agent(name="A", model=setup.responses, tools=list(tools or [Tool().tool]), **options)


def plain(*tools: Any, **options: Any) -> Program:
    async def program(setup: Setup) -> None:
        await Runner.run(looping(setup, *tools), "hi", run_config=CONFIG, **options)

    return program


def streamed(*tools: Any, **options: Any) -> Program:
    async def program(setup: Setup) -> None:
        agent = looping(setup, *tools)
        await drain(Runner.run_streamed(agent, "hi", run_config=CONFIG, **options))

    return program


def chat(setup: Setup) -> Agent[Any]:
    return Agent(name="A", model=setup.chat, tools=[Tool().tool])


WAYS = [pytest.param(plain, id="run"), pytest.param(streamed, id="run_streamed")]


def as_tool(setup: Setup, name: str = "sub", **options: Any) -> Any:
    inner = Agent(name=name, model=setup.responses, tools=[Tool().tool])
    return inner.as_tool(name, "Ask another agent.", **options)


def nested(*names: str, **options: Any) -> Program:
    async def program(setup: Setup) -> None:
        tools = [as_tool(setup, name, **options) for name in names or ("sub",)]
        outer = Agent(name="outer", model=OpenAIResponsesModel("o", setup.client), tools=tools)
        await Runner.run(outer, "hi", run_config=CONFIG)

    return program


def calling(*names: str) -> Callable[[Request], Reply]:
    return lambda request: ToolCalls(tuple(ToolCall(name, {"input": "go"}) for name in names))
