"""A real server hears of the real SDK's runs while they go on, and tells of each breach once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool
from openai import AsyncOpenAI

from tests.fakes.observer import RecordingObserver
from tests.fakes.process import Start, fetch, free_port, scrape
from tests.fakes.server_process import ServerProcess
from tocsin.app.export import exporter
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import FakeLLM, Text, ToolCall, ToolCalls, script
from tocsin.runs.limits import WorkflowSLA

BREACHES = "agent_sla_breaches_total"
CONFIG = """\
workflows:
  talkative: {sla: {tokens: 100}}
  hanging: {sla: {latency: 1s, turns: 50}}
  fine: {sla: {tokens: 100000, latency: 60s, turns: 50, cost: 5 USD}}
"""


class Lab:
    """A server with service levels, and a watched SDK that sends to it."""

    def __init__(self, start: Start, folder: Path, watcher: Watcher, llm: FakeLLM) -> None:
        self._start = start
        self._folder = folder
        self._llm = llm
        (folder / "tocsin.yaml").write_text(CONFIG)
        self._ports = [free_port() for _ in range(3)]
        self.watcher = watcher
        self.server = self.serve()
        watcher.export(exporter(f"http://127.0.0.1:{self._ports[1]}"))

    def serve(self) -> ServerProcess:
        options = ("--config", str(self._folder / "tocsin.yaml"))
        return ServerProcess(self._start, self._folder / "data", *options, ports=self._ports)

    def ask(self, path: str) -> Any:
        return json.loads(fetch(self._ports[0], f"/api/v1/{path}") or "{}")

    def events(self) -> list[Any]:
        return list(self.ask("breaches").get("events", []))

    def counted(self, limit: str) -> float | None:
        return scrape(self._ports[0], BREACHES, limit=limit)

    @contextlib.asynccontextmanager
    async def running(self, workflow: str) -> AsyncIterator[Callable[[], bool]]:
        """Be inside of a run that waits in a tool; tell whether it is over. It ends with this."""
        go_on = asyncio.Event()

        @function_tool
        async def wait_for_it() -> str:
            await asyncio.wait_for(go_on.wait(), 60)
            return "here it is"

        self._llm.set(None, script([ToolCalls((ToolCall("wait_for_it"),)), Text("done")]))
        client = AsyncOpenAI(base_url=self._llm.base_url, api_key="x", max_retries=0)
        model = OpenAIChatCompletionsModel("gpt-4o", client)
        agent = Agent(name="billing", model=model, tools=[wait_for_it])
        config = RunConfig(workflow_name=workflow)
        run = asyncio.create_task(Runner.run(agent, "hi", run_config=config))
        try:
            yield run.done
        finally:
            go_on.set()
            await run
            await client.close()
            self.watcher.flush()


async def eventually(holds: Callable[[], object], timeout_s: float = 20.0) -> bool:
    for _ in range(int(timeout_s / 0.05)):
        if await asyncio.to_thread(holds):
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.fixture
def lab(start: Start, tmp_path: Path, watch: Callable[..., Watcher], llm: FakeLLM) -> Lab:
    return Lab(start, tmp_path, watch(), llm)


@pytest.mark.slow
@pytest.mark.e2e
def test_tokens_are_told_of_while_the_run_goes_on_and_once(lab: Lab) -> None:
    async def scenario() -> Any:
        async with lab.running("talkative") as is_over:
            assert await eventually(lab.events), lab.server.program.errors
            assert not is_over()
            (event,) = lab.events()
        assert await eventually(lambda: lab.ask("runs").get("runs"))
        return event

    event = asyncio.run(scenario())
    (run,) = lab.ask("runs")["runs"]
    assert ("breach", "tokens", "talkative", True) == (
        *(event["kind"], event["name"], event["workflow"], event["in_flight"]),
    )
    assert (run["run_id"], run["trace_id"]) == (event["run_id"], event["trace_id"])
    assert (150, 100, "gpt-4o") == (
        *(event["value"], event["threshold"], event["contributors"][0]["name"]),
    )
    expected = "150 tokens so far, over the limit of 100 tokens; 100 % gpt-4o in agent billing"
    assert expected in event["message"]
    assert ([event], 1.0) == (lab.events(), lab.counted("tokens"))
    assert event["message"] in lab.server.program.errors


@pytest.mark.slow
@pytest.mark.e2e
def test_a_run_that_hangs_is_told_of_by_the_clock(lab: Lab) -> None:
    async def scenario() -> Any:
        async with lab.running("hanging") as is_over:
            assert await eventually(lab.events), lab.server.program.errors
            assert not is_over()
            (event,) = lab.events()
        assert await eventually(lambda: lab.ask("runs").get("runs"))
        return event

    event = asyncio.run(scenario())
    assert ("latency", "hanging", True) == (
        *(event["name"], event["workflow"], event["in_flight"]),
    )
    assert 1.0 < event["value"] < 10
    assert "what is not reported yet" == event["contributors"][0]["name"]
    assert ([event], 1.0) == (lab.events(), lab.counted("latency"))
    assert lab.ask("runs")["runs"][0]["run_id"] == event["run_id"]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_restart_in_the_middle_of_a_run_repeats_nothing(lab: Lab) -> None:
    async def scenario() -> list[Any]:
        async with lab.running("talkative"):
            assert await eventually(lab.events), lab.server.program.errors
            before = lab.events()
            lab.server.kill()
            lab.server = await asyncio.to_thread(lab.serve)
        assert await eventually(lambda: lab.ask("runs").get("runs")), lab.server.program.errors
        await asyncio.sleep(1.5)
        return before

    before = asyncio.run(scenario())
    assert (1, before) == (len(before), lab.events())
    assert 0.0 == lab.counted("tokens")
    assert before[0]["message"] not in lab.server.program.errors


@pytest.mark.slow
@pytest.mark.e2e
def test_a_run_within_its_limits_raises_nothing(lab: Lab) -> None:
    async def scenario() -> None:
        async with lab.running("fine"):
            await asyncio.sleep(2.5)
        assert await eventually(lambda: lab.ask("runs").get("runs"))

    asyncio.run(scenario())
    assert [] == lab.events()
    assert (0.0, 0.0) == (lab.counted("tokens"), lab.counted("latency"))
    levels = {level["limit"]: level for level in lab.ask("slas?workflow=fine")["slas"]}
    assert [1.0] * 3 == [window["share"] for window in levels["tokens"]["windows"]]


class Pager:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def send(self, *, severity: str, message: str) -> None:
        self.messages.append(message)


def test_in_the_program_a_breach_names_what_has_taken_most(
    watch: Callable[..., Watcher], llm: FakeLLM
) -> None:
    @function_tool
    async def search() -> str:
        await asyncio.sleep(1.5)
        return "found"

    async def scenario() -> None:
        client = AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0)
        writer = Agent(name="writer", model=OpenAIChatCompletionsModel("gpt-4o-mini", client))
        boss = Agent(
            name="boss",
            model=OpenAIChatCompletionsModel("gpt-4o", client),
            tools=[search, writer.as_tool("write", None)],
        )
        calls = (ToolCall("search"), ToolCall("write", {"input": "it"}))
        llm.set("gpt-4o", script([ToolCalls(calls[:1]), ToolCalls(calls[1:]), Text("done")]))
        await Runner.run(boss, "hi", run_config=RunConfig(workflow_name="report"))
        await client.close()

    watcher, pager = watch(), Pager()
    sla = WorkflowSLA(max_latency_seconds=1.0, max_tokens_per_request=500, max_turns=2)
    watcher.add_slas({"report": sla}, pager)
    heard = RecordingObserver()
    watcher.add_observer(heard)
    asyncio.run(scenario())
    watcher.close()

    breaches = {breach.limit: breach for breach in heard.all("breached")}
    assert {"latency", "tokens", "turns"} == breaches.keys()
    tokens, turns, latency = (breaches[limit] for limit in ("tokens", "turns", "latency"))
    assert {"gpt-4o": 0.75, "gpt-4o-mini": 0.25} == tokens.shares("model")
    assert {"boss": 0.75, "writer": 0.25} == tokens.shares("agent")
    assert [("agent boss", 3)] == [(part.text, part.value) for part in turns.contributors]
    assert "tool search in agent boss" == latency.largest[0].text
    assert sum(part.value for part in latency.contributors) == pytest.approx(latency.value, abs=0.1)
    assert sorted(breach.message for breach in breaches.values()) == sorted(pager.messages)
