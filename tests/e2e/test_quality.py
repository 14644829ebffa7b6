"""What the real SDK does wrong without an error -> the signal; what only looks like it -> none."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from agents import Agent, ModelRetrySettings, ModelSettings, Runner, function_tool, retry_policies
from openai import AsyncOpenAI

from tests.e2e import scenarios as s
from tests.e2e.scenarios import Scenario, call
from tests.e2e.setup import Setup, drain
from tests.fakes.counts import Page
from tests.fakes.observer import RecordingObserver
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import (
    Behaviour,
    Failure,
    FakeLLM,
    Reply,
    Request,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    answer,
    fail_first,
    script,
)
from tocsin.model.finding import Finding, Signal
from tocsin.quality.settings import Quality, ToolData


@function_tool
def search(query: str) -> str:
    return "nothing found"


@function_tool
def read(page: str) -> str:
    return f"text of page {page}"


@function_tool
def write(path: str) -> str:
    return "written"


def counting(name: str, *results: str) -> Any:
    """A tool that returns one result after another, whatever it is asked; the last stays."""
    left = list(results)

    @function_tool(name_override=name)
    def tool(key: str = "") -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    return tool


def flaky(name: str, failures: int) -> Any:
    """A tool that fails so many times, then works."""
    left = [failures]

    @function_tool(name_override=name)
    def tool(key: str) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("try again")
        return "worked"

    return tool


def with_tools(make: Callable[[], Iterable[Any]], **settings: Any) -> Scenario:
    async def run(setup: Setup) -> None:
        agent: Agent[Any] = Agent(
            name="A",
            model=setup.responses,
            tools=list(make()),
            model_settings=ModelSettings(**settings),
        )
        await Runner.run(agent, "hi", max_turns=40)

    return run


def growing(replies: Sequence[Reply]) -> Behaviour:
    """A script whose input grows with each step, as real contexts do."""
    inner = script(replies)

    def reply(request: Request) -> Reply:
        found = inner(request)
        assert isinstance(found, Text | ToolCalls)
        return replace(found, usage=Usage(input=1_000 * (request.step + 1)))

    return reply


DONE = Text("done")


def asked(tool: str, times: int, **arguments: str) -> Behaviour:
    """Call a tool so many times; "{}" in an argument is the number of the call."""
    calls = [
        call(tool, **{key: value.format(n) for key, value in arguments.items()})
        for n in range(times)
    ]
    return growing([*calls, DONE])


def in_turn(times: int, *calls: ToolCalls) -> Behaviour:
    return growing([*(calls * times), DONE])


def desks(work: bool) -> Scenario:
    """Two agents that may hand over to each other; `work`: and look things up."""

    async def run(setup: Setup) -> None:
        tools = [read] if work else []
        triage: Agent[Any] = Agent(name="triage", model=setup.responses, tools=list(tools))
        billing: Agent[Any] = Agent(
            name="billing", model=setup.responses, tools=list(tools), handoffs=[triage]
        )
        triage.handoffs = [billing]
        await Runner.run(triage, "hi", max_turns=20)

    return run


TO_BILLING, TO_TRIAGE = call("transfer_to_billing"), call("transfer_to_triage")


def quotes(age_s: float) -> Any:
    """A tool whose output names the time of its data."""

    @function_tool(name_override="quote")
    def quote(symbol: str) -> dict[str, Any]:
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        return {"symbol": symbol, "quote": {"price": 1.5, "as_of": at.isoformat()}}

    return quote


MINUTE_OLD = Quality(tools={"quote": ToolData(max_age_s=60, time_at="$.quote.as_of")})
BY_PATTERN = Quality(tools={"quote": ToolData(max_age_s=60, time_at=r'as_of":\s*"([^"]+)')})
DOCUMENT = "A long document about nothing in particular. " * 5


async def sub_agents(setup: Setup) -> None:
    """Six agents in one run, each of which asks for the same thing once."""
    inner: Agent[Any] = Agent(
        name="inner", instructions="inner", model=setup.responses, tools=[search]
    )
    tool = inner.as_tool("ask_inner", "Ask the inner agent.")
    await Runner.run(Agent(name="outer", model=setup.responses, tools=[tool]), "hi")


def inner_searches(request: Request) -> Reply:
    if request.instructions == "inner":
        return script([call("search", query="policy"), Text("inside")])(request)
    six = ToolCalls(tuple(ToolCall("ask_inner", {"input": f"part {n}"}) for n in range(6)))
    return script([six, DONE])(request)


def retried(setup_retries: int) -> Scenario:
    async def run(setup: Setup) -> None:
        policy = retry_policies.http_status([429, 500])
        retry = ModelRetrySettings(max_retries=setup_retries, policy=policy)
        model_settings = ModelSettings(retry=retry)
        await Runner.run(
            Agent(name="A", model=setup.responses, model_settings=model_settings), "hi"
        )

    return run


def chat(*, streamed: bool = False, **settings: Any) -> Scenario:
    async def run(setup: Setup) -> None:
        agent: Agent[Any] = Agent(
            name="A", model=setup.chat, model_settings=ModelSettings(**settings)
        )
        if streamed:
            await drain(Runner.run_streamed(agent, "hi", max_turns=2))
        else:
            await Runner.run(agent, "hi", max_turns=2)

    return run


CHANGES = [f"{DOCUMENT}{n}" for n in range(2)]
LATE = Failure(500, retry_after_s=0.01)
NO_OUTPUT = Usage(output=0, reasoning=0)


@dataclass(frozen=True, slots=True)
class Row:
    """A program, how the model behaves, and the signals that are right."""

    scenario: Scenario
    model: Behaviour
    expected: set[Signal] = field(default_factory=set)
    quality: Quality = field(default_factory=Quality)


ROWS = {
    # stale tool output
    "data is too old": Row(
        with_tools(lambda: [quotes(3600)]),
        asked("quote", 1, symbol="A"),
        {Signal.STALE_TOOL_OUTPUT},
        MINUTE_OLD,
    ),
    "data is too old, by a pattern": Row(
        with_tools(lambda: [quotes(3600)]),
        asked("quote", 1, symbol="A"),
        {Signal.STALE_TOOL_OUTPUT},
        BY_PATTERN,
    ),
    "data is fresh": Row(
        with_tools(lambda: [quotes(5)]), asked("quote", 3, symbol="{}"), quality=MINUTE_OLD
    ),
    "frozen output for changing arguments": Row(
        with_tools(lambda: [counting("fetch", *CHANGES)]),
        asked("fetch", 11, key="{}"),
        {Signal.STALE_TOOL_OUTPUT},
    ),
    "short acknowledgements repeat": Row(
        with_tools(lambda: [write]), asked("write", 15, path="{}")
    ),
    "a tool that always says the same": Row(
        with_tools(lambda: [counting("policy", DOCUMENT)]), asked("policy", 15, key="{}")
    ),
    "changing output for changing arguments": Row(
        with_tools(lambda: [read]), asked("read", 15, page="{}")
    ),
    # loops
    "identical calls": Row(
        with_tools(lambda: [search]),
        asked("search", 6, query="same"),
        {Signal.TOOL_LOOP},
    ),
    "a few identical calls": Row(with_tools(lambda: [search]), asked("search", 4, query="same")),
    "polling with changing arguments": Row(
        with_tools(lambda: [search]), asked("search", 15, query="page {}")
    ),
    "polling until the answer changes": Row(
        with_tools(lambda: [counting("status", *(f"{n} %" for n in range(20)))]),
        asked("status", 15, key="job"),
    ),
    "polling with one answer, as allowed": Row(
        with_tools(lambda: [counting("status", "pending")]),
        asked("status", 15, key="job"),
        quality=Quality(polling=["status"]),
    ),
    "alternating pairs": Row(
        with_tools(lambda: [search, read]),
        in_turn(3, call("search", query="a"), call("read", page="1")),
        {Signal.TOOL_LOOP},
    ),
    "alternating pairs with changing arguments": Row(
        with_tools(lambda: [search, read]),
        growing(
            [
                one
                for n in range(8)
                for one in (call("search", query=f"{n}"), call("read", page=f"{n}"))
            ]
            + [DONE]
        ),
    ),
    "six agents ask for the same": Row(sub_agents, inner_searches),
    # no progress
    "growing context, nothing new": Row(
        with_tools(lambda: [search, read, write]),
        in_turn(4, call("search", query="a"), call("read", page="1"), call("write", path="x")),
        {Signal.NO_PROGRESS},
        Quality(same_calls=None, same_pairs=None),
    ),
    "long context with progress": Row(
        with_tools(lambda: [read, write]),
        growing(
            [
                one
                for n in range(10)
                for one in (call("read", page=f"{n}"), call("write", path=f"{n}"))
            ]
            + [DONE]
        ),
    ),
    # hand-offs
    "hand-off ping-pong": Row(
        desks(work=False),
        growing([TO_BILLING, TO_TRIAGE, TO_BILLING, DONE]),
        {Signal.HANDOFF_PING_PONG},
    ),
    "handed back once": Row(desks(work=False), growing([TO_BILLING, TO_TRIAGE, DONE])),
    "handed back twice, after work": Row(
        desks(work=True),
        growing(
            [
                *(call("read", page="1"), TO_BILLING, call("read", page="2"), TO_TRIAGE),
                *(call("read", page="3"), TO_BILLING, call("read", page="4"), TO_TRIAGE, DONE),
            ]
        ),
    ),
    # retries
    "tool retried over and over": Row(
        with_tools(lambda: [flaky("fetch", 5)]),
        asked("fetch", 6, key="{}"),
        {Signal.RETRY_STORM},
    ),
    "tool retried once": Row(with_tools(lambda: [flaky("fetch", 1)]), asked("fetch", 2, key="a")),
    "six failures at once": Row(
        with_tools(lambda: [flaky("fetch", 6)]),
        growing([ToolCalls(tuple(ToolCall("fetch", {"key": k}) for k in "abcdef")), DONE]),
    ),
    "model retried over and over": Row(
        retried(5), fail_first(5, LATE, answer("ok")), {Signal.RETRY_STORM}
    ),
    "model retried once": Row(retried(5), fail_first(1, LATE, answer("ok"))),
    # answers
    "empty answer": Row(
        s.plain_responses, lambda _: Text("", usage=NO_OUTPUT), {Signal.EMPTY_ANSWER}
    ),
    "empty answer, paid for": Row(s.plain_responses, lambda _: Text(""), {Signal.EMPTY_ANSWER}),
    "empty chat answer": Row(chat(), lambda _: Text(""), {Signal.EMPTY_ANSWER}),
    "empty chat answer, streamed": Row(
        chat(streamed=True, include_usage=True),
        lambda _: Text("", usage=NO_OUTPUT),
        {Signal.EMPTY_ANSWER},
    ),
    "no text beside a tool call": Row(s.using(s.lookup), s.tool_then_answer("lookup")),
    "cut off": Row(
        s.plain_responses, lambda _: Text("Once upon", finish="length"), {Signal.TRUNCATED_ANSWER}
    ),
    "cut off, streamed": Row(
        s.streamed_responses,
        lambda _: Text("Once upon", finish="length"),
        {Signal.TRUNCATED_ANSWER},
    ),
    "chat cut off, and nothing says so": Row(
        chat(max_tokens=30), lambda _: Text("Once upon", finish="length"), {Signal.TRUNCATED_ANSWER}
    ),
    "chat cut off before its first word": Row(
        chat(), lambda _: Text("", finish="length", usage=NO_OUTPUT), {Signal.TRUNCATED_ANSWER}
    ),
    "a long answer that ends": Row(
        chat(max_tokens=31), lambda _: Text("Once upon a time", usage=Usage(output=30))
    ),
    "filtered": Row(
        s.plain_responses, lambda _: Text("x", finish="content_filter"), {Signal.FILTERED_ANSWER}
    ),
    "chat filtered": Row(
        chat(), lambda _: Text("", finish="content_filter"), {Signal.FILTERED_ANSWER}
    ),
    "chat filtered, streamed": Row(
        chat(streamed=True),
        lambda _: Text("", finish="content_filter"),
        {Signal.FILTERED_ANSWER},
    ),
}


def run(scenario: Scenario, model: Behaviour, llm: FakeLLM) -> None:
    """Run a program once, whatever it raises."""
    llm.set(None, model)
    client = AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0, timeout=5)

    async def main() -> None:
        async with client:
            with contextlib.suppress(Exception):
                await scenario(Setup(client))

    asyncio.run(main())


class Watched:
    """A watcher with somebody who listens, and a service that is alerted."""

    def __init__(self, watcher: Watcher, quality: Quality | None) -> None:
        self.watcher = watcher
        self.heard = RecordingObserver()
        self.alerts: list[tuple[str, str]] = []
        watcher.watch_quality(quality)
        watcher.add_observer(self.heard)
        watcher.add_slas({}, self)

    def send(self, severity: str, message: str) -> None:
        self.alerts.append((severity, message))

    @property
    def page(self) -> Page:
        assert self.watcher.flush()
        return Page(self.watcher.families())

    @property
    def findings(self) -> list[Finding]:
        assert self.watcher.flush()
        return self.heard.all("found")


Watching = Callable[..., Watched]


@pytest.fixture
def watching(watch: Callable[..., Watcher]) -> Watching:
    return lambda quality: Watched(watch(), quality)


@pytest.mark.parametrize("name", ROWS)
def test_signals_of_a_run(name: str, watching: Watching, llm: FakeLLM) -> None:
    row = ROWS[name]
    watched = watching(row.quality)
    run(row.scenario, row.model, llm)

    assert sorted(row.expected) == sorted(found.signal for found in watched.findings)
    counted = watched.page.by("agent_quality_signals_total", "signal")
    assert dict.fromkeys(row.expected, 1) == counted
    assert 0 == watched.page.total("tocsin_internal_errors_total")
    assert 0 == watched.page.total("tocsin_malformed_events_total")
    watched.watcher.close()
    assert [("warning", found.message) for found in watched.findings] == watched.alerts


def test_loop_is_raised_while_it_goes_on(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(Quality())
    seen: list[int] = []

    @function_tool
    def look(key: str) -> str:
        watched.watcher.flush()
        found = watched.heard.all("found")
        seen.append(sum(one.signal is Signal.TOOL_LOOP for one in found))
        return "same"

    run(with_tools(lambda: [look]), asked("look", 8, key="a"), llm)

    assert [0] * 6 + [1] * 2 == seen
    assert watched.findings[0].in_flight


def checked(*, inputs: bool) -> Scenario:
    return s.guarded(inputs=False if inputs else None, outputs=None)


def test_run_without_its_usual_guardrail(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(Quality(guardrail_runs=5))
    for _ in range(5):
        run(checked(inputs=True), answer("ok"), llm)
    assert [] == watched.findings
    run(checked(inputs=False), answer("ok"), llm)

    (found,) = watched.findings
    assert Signal.GUARDRAIL_SILENT == found.signal
    assert "5 of 5 runs before had a check" in found.message


def test_workflow_that_has_no_guardrail(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(Quality(guardrail_runs=5))
    for _ in range(7):
        run(checked(inputs=False), answer("ok"), llm)

    assert [] == watched.findings


def test_failed_run_never_reached_its_guardrail(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(Quality(guardrail_runs=5))
    for _ in range(5):
        run(s.guarded(inputs=None, outputs=False), answer("ok"), llm)
    run(s.guarded(inputs=None, outputs=False), lambda _: Failure(500), llm)

    assert [] == watched.findings


def test_workflow_that_must_be_guarded(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(Quality(guarded=["Agent workflow"]))
    run(checked(inputs=True), answer("ok"), llm)
    assert [] == watched.findings
    run(checked(inputs=False), answer("ok"), llm)

    assert [Signal.GUARDRAIL_SILENT] == [found.signal for found in watched.findings]


def test_stale_results_are_counted_by_tool(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(MINUTE_OLD)
    run(with_tools(lambda: [quotes(3600)]), asked("quote", 3, symbol="{}"), llm)
    page = watched.page

    assert 3 == page.total("agent_tool_stale_results_total", tool="quote")
    newest_s = page.total("agent_tool_result_newest_data_timestamp_seconds", tool="quote")
    assert 3600 == pytest.approx(time.time() - newest_s, abs=60)


def test_results_without_a_time_are_counted(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(Quality(tools={"search": ToolData(max_age_s=60, time_at="$.as_of")}))
    run(with_tools(lambda: [search]), asked("search", 2, query="{}"), llm)

    assert 2 == watched.page.total("agent_tool_undated_results_total", tool="search")
    assert [] == watched.findings


def test_nothing_of_arguments_and_outputs_is_kept(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(MINUTE_OLD)

    @function_tool
    def secret(key: str) -> str:
        return json.dumps({"password": "hunter2"})

    run(with_tools(lambda: [secret]), asked("secret", 7, key="swordfish"), llm)

    assert Signal.TOOL_LOOP in {found.signal for found in watched.findings}
    watched.watcher.close()
    told = repr(watched.heard.told) + repr(watched.alerts)
    assert "hunter2" not in told
    assert "swordfish" not in told


def test_switched_off_counts_nothing(watching: Watching, llm: FakeLLM) -> None:
    watched = watching(None)
    run(with_tools(lambda: [search]), asked("search", 8, query="same"), llm)

    assert [] == watched.findings
    assert "agent_quality_signals_total" not in {
        family.metric.name for family in watched.watcher.families()
    }
