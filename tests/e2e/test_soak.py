"""Two hundred agents at once, most of them in trouble: nothing is lost and nothing is left."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    ModelResponse,
    ModelSettings,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    trace,
)
from agents.tracing import agent_span, response_span, task_span
from openai import AsyncOpenAI

from tests.e2e.scenarios import broken, crashing, lookup
from tests.fakes.counts import Page
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import (
    Behaviour,
    Failure,
    FakeLLM,
    Hang,
    Latency,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    script,
)
from tocsin.meters.clients import SilentObserver
from tocsin.model.run import Run
from tocsin.runs.limits import WorkflowSLA

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(60)]

EACH = 16
RUN_TTL_S = 6.0
USAGE = Usage(input=100, cached=40, output=20, reasoning=5)


@function_tool
async def forever(key: str) -> str:
    await asyncio.sleep(3600)
    return "never"


TOOLS = [lookup, broken, crashing, forever]


def calls(tool: str) -> ToolCalls:
    return ToolCalls((ToolCall(tool, {"key": "a"}),), usage=USAGE)


def tool_then_answer(tool: str) -> Behaviour:
    return script([calls(tool), Text("done", usage=USAGE)])


class Stuck(Model):
    """A model of one's own that never answers, and leaves no span."""

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        await asyncio.sleep(3600)
        raise AssertionError("cancelled long before")

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("not streamed here")


class Fleet:
    """Starts runs; the model and the workflow have the same name, so their counts compare."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    def _agent(self, name: str, model: Model | None = None) -> tuple[Agent[Any], RunConfig]:
        model = model or OpenAIResponsesModel(name, self._client)
        settings = ModelSettings(include_usage=True)
        agent = Agent(name=name, model=model, tools=list(TOOLS), model_settings=settings)
        return agent, RunConfig(workflow_name=name)

    async def run(self, name: str, model: Model | None = None) -> None:
        agent, config = self._agent(name, model)
        await Runner.run(agent, "hi", run_config=config, max_turns=3)

    async def cut(self, name: str, model: Model | None = None) -> None:
        """Cancel a run once its calls have surely begun, though two hundred start with it."""
        await asyncio.wait_for(self.run(name, model), RUN_TTL_S / 2)

    async def stream(self, name: str) -> None:
        agent, config = self._agent(name)
        async for _ in Runner.run_streamed(agent, "hi", run_config=config).stream_events():
            pass

    async def abandon(self, name: str) -> None:
        """Stop listening; the SDK lets the run go on."""
        agent, config = self._agent(name)
        result = Runner.run_streamed(agent, "hi", run_config=config)
        async for _ in result.stream_events():
            break
        task = result.run_loop_task
        assert task is not None
        await task

    async def cancel(self, name: str) -> None:
        """Cancel a stream in the middle of an answer."""
        agent, config = self._agent(name)
        result = Runner.run_streamed(agent, "hi", run_config=config)
        async for event in result.stream_events():
            if getattr(getattr(event, "data", None), "type", "").endswith(".delta"):
                result.cancel()

    async def orphan(self, name: str) -> None:
        """Leave spans that never end, as a program with a bug in its own tracing does."""
        with trace(name) as made:
            root = task_span(name, parent=made)
            root.start()
            response_span(parent=root).start()
            await asyncio.sleep(0)

    async def endless_trace(self, name: str) -> None:
        """Start a trace that never ends, around agents that do."""
        made = trace(name)
        made.start()
        with agent_span(name, parent=made):
            await asyncio.sleep(0)


class Ledger(SilentObserver):
    """Counts what the pipeline says began and ended."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.finished: Counter[tuple[str, str]] = Counter()

    def run_started(self, run: Run) -> None:
        self.started[run.workflow] += 1

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        self.finished[run.workflow, str(run.outcome)] += 1


MODELS: dict[str, Behaviour] = {
    "ok": tool_then_answer("lookup"),
    "broken": tool_then_answer("broken"),
    "crashing": tool_then_answer("crashing"),
    "failing": lambda _: Failure(500),
    "endless": lambda _: calls("lookup"),
    "hanging": lambda _: Hang(),
    "in-tool": tool_then_answer("forever"),
    "streamed": tool_then_answer("lookup"),
    "abandoned": tool_then_answer("lookup"),
    "slow": lambda _: Text("word " * 400, usage=USAGE, latency=Latency(total_s=30)),
}
OUTCOMES = {
    "ok": "ok",
    "broken": "ok",
    "crashing": "error",
    "failing": "error",
    "endless": "max_turns",
    "hanging": "cancelled",
    "in-tool": "cancelled",
    "stuck": "cancelled",
    "streamed": "ok",
    "abandoned": "ok",
    "slow": "cancelled",
    "orphan": "cancelled",
    "endless-trace": "unknown",
}


def scenarios(fleet: Fleet) -> dict[str, Callable[[str], Awaitable[None]]]:
    return {
        **dict.fromkeys(("ok", "broken", "crashing", "failing", "endless"), fleet.run),
        **dict.fromkeys(("hanging", "in-tool"), fleet.cut),
        "stuck": lambda name: fleet.cut(name, Stuck()),
        "streamed": fleet.stream,
        "abandoned": fleet.abandon,
        "slow": fleet.cancel,
        "orphan": fleet.orphan,
        "endless-trace": fleet.endless_trace,
    }


async def run_fleet(llm: FakeLLM) -> None:
    """Run every scenario EACH times, all at once."""
    async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
        todo = [
            scenario(name)
            for name, scenario in scenarios(Fleet(client)).items()
            for _ in range(EACH)
        ]
        await asyncio.gather(*todo, return_exceptions=True)


def wait_until(holds: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def table_sizes(watcher: Watcher) -> dict[str, int]:
    """Everything in the pipeline that grows with runs in progress."""
    tracker, decoder, slas = watcher.pipeline.tracker, watcher.reader.decoder, watcher.pipeline.slas
    return {
        "open runs": len(tracker._open),
        "members": len(tracker._members),
        "traces of open runs": len(tracker._by_trace),
        "finished runs": len(tracker._finished),
        "open spans": len(decoder._open),
        "runs under an SLA": len(slas._watched),
        "queue": len(watcher.queue),
    }


@pytest.fixture
def soaked(watch: Callable[..., Watcher], llm: FakeLLM) -> tuple[Watcher, FakeLLM, Ledger]:
    """A watcher some seconds after all runs were over, past the TTL of those that were not."""
    for name, behaviour in MODELS.items():
        llm.set(name, behaviour)
    watcher, ledger = watch(run_ttl_s=RUN_TTL_S), Ledger()
    watcher.add_slas({"*": WorkflowSLA(max_latency_seconds=3600)})
    watcher.add_observer(ledger)
    asyncio.run(run_fleet(llm))
    wait_until(lambda: not any(table_sizes(watcher).values()), RUN_TTL_S + 5)
    assert watcher.flush()
    return watcher, llm, ledger


def test_two_hundred_runs_leave_nothing_behind(
    soaked: tuple[Watcher, FakeLLM, Ledger],
) -> None:
    watcher, llm, ledger = soaked
    page = Page(watcher.families())

    assert dict.fromkeys(table_sizes(watcher), 0) == table_sizes(watcher)
    assert [] == watcher.pipeline.tracker.open_runs
    assert dict.fromkeys(OUTCOMES.items(), EACH) == ledger.finished
    assert dict.fromkeys(OUTCOMES, EACH) == ledger.started
    assert EACH * len(OUTCOMES) == page.total("agent_workflow_runs_total")
    assert EACH * len(OUTCOMES) == page.observed("agent_workflow_duration_seconds")[0]
    check_tokens(page, llm)
    check_health(page, watcher)


def check_tokens(page: Page, llm: FakeLLM) -> None:
    """Compare tokens with what the fake model answered, save answers that nobody waited for."""
    counts = {name: llm.counts[name, 200] for name in MODELS if name != "slow"}
    assert counts["ok"] == 2 * EACH
    for name, answers in counts.items():
        counted = [
            page.total("agent_tokens_total", model=name, direction=direction)
            for direction in ("input", "output")
        ]
        assert (name, [USAGE.input * answers, USAGE.output * answers]) == (name, counted)
    assert page.total("agent_tokens_total", model="slow") == 0
    for name in ("slow", "hanging"):
        assert EACH == page.total("agent_usage_missing_total", model=name)


def check_health(page: Page, watcher: Watcher) -> None:
    assert {} == page.by("agent_active_workflows", "workflow")
    assert {} == page.by("agent_oldest_active_run_start_timestamp_seconds", "workflow")
    assert {} == page.by("agent_active_workflow_tokens_max", "workflow")
    for name in ("events_dropped", "internal_errors", "malformed_events", "sink_errors"):
        assert (name, 0) == (name, page.total(f"tocsin_{name}_total"))
    assert EACH == page.total("tocsin_lost_runs_total", reason="expired")


def test_closing_ends_every_thread(llm: FakeLLM, watch: Callable[..., Watcher]) -> None:
    before = set(threading.enumerate())
    watcher = watch()
    watcher.add_slas({"*": WorkflowSLA(max_turns=1)}, alert_service=Alerts())
    llm.set("ok", tool_then_answer("lookup"))

    asyncio.run(one_run(llm))
    assert watcher.flush()
    assert {"tocsin", "tocsin-alerts"} <= {thread.name for thread in threading.enumerate()}
    watcher.close()

    left = {thread for thread in threading.enumerate() if thread.name.startswith("tocsin")}
    assert set() == left - before


class Alerts:
    def send(self, severity: str, message: str) -> None:
        pass


async def one_run(llm: FakeLLM) -> None:
    async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
        await Fleet(client).run("ok")
