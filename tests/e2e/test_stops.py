"""Hard limits on the real SDK: every way to stop a run, and every trap on the way."""

import asyncio
import contextlib
import threading
import time
from decimal import Decimal
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    RunHooks,
    Runner,
    function_tool,
)
from agents.exceptions import AgentsException, MaxTurnsExceeded
from openai import AsyncOpenAI

import tocsin
from tests.e2e.setup import Setup, drain
from tests.e2e.stopping import (
    CONFIG,
    PER_CALL,
    WAYS,
    Tool,
    Watch,
    as_tool,
    calling,
    chat,
    endless,
    looping,
    nested,
    outcomes,
    page,
    plain,
    run,
    stopped,
)
from tests.fakes.counts import Page
from tocsin.app.tariff import Tariff
from tocsin.guard.account import Ledger
from tocsin.guard.allowance import Allowance
from tocsin.guard.cover import Cover
from tocsin.guard.estimate import Forecast
from tocsin.lab.fake_llm import (
    FakeLLM,
    Hang,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    script,
)

# The stopping table: before the call, after it, before and after a tool, while it hangs, by cancel.


@pytest.mark.parametrize("way", WAYS)
def test_stops_before_the_call_that_would_pass_the_limit(
    way: Any, limited: Any, llm: FakeLLM
) -> None:
    watcher = limited(max_tokens=500)
    llm.set(None, endless())

    error = stopped(llm, way())

    assert 3 == len(llm.requests)
    assert isinstance(error, AgentsException)
    assert ("tokens", 500.0, "job") == (error.limit, error.limit_value, error.workflow)
    assert 500 < error.value < 700
    assert {"stopped": 1} == outcomes(watcher)
    assert 3 * PER_CALL == page(watcher).total("agent_tokens_total")


@pytest.mark.parametrize("way", WAYS)
def test_stops_after_a_call_that_passed_the_limit_before_its_tools(
    way: Any, limited: Any, llm: FakeLLM
) -> None:
    limited(max_tokens=100)  # the first call looks small, and is not
    llm.set(None, endless())
    tool = Tool()

    error = stopped(llm, way(tool.tool))

    assert (1, 0, 150.0) == (len(llm.requests), tool.calls, error.value)


def test_an_answer_that_is_paid_for_is_delivered(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=100)

    run(llm, plain())

    assert {"ok": 1} == outcomes(watcher)


@pytest.mark.parametrize("way", WAYS)
def test_stops_before_the_same_tool_call_too_many(way: Any, limited: Any, llm: FakeLLM) -> None:
    watcher = limited(same_tool_call=2)
    llm.set(None, script([ToolCalls((ToolCall("lookup", {"key": "a"}),))]))
    tool = Tool()

    error = stopped(llm, way(tool.tool))

    assert (2, 3.0) == (tool.calls, error.value)
    assert "job: stopped at 3 identical tool calls, over the limit of 2" in str(error)
    assert {"stopped": 1} == outcomes(watcher)


@pytest.mark.parametrize("way", WAYS)
def test_stops_at_turns(way: Any, limited: Any, llm: FakeLLM) -> None:
    limited(max_turns=2)
    llm.set(None, endless())

    assert ("turns", 3.0) == (lambda e: (e.limit, e.value))(stopped(llm, way()))
    assert 2 == len(llm.requests)


@pytest.mark.parametrize("way", WAYS)
def test_stops_at_cost(way: Any, limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_cost="0.002 USD")  # a call costs 0.00052, and is expected to cost more
    llm.set(None, endless())

    error = stopped(llm, way())

    assert "cost" == error.limit
    assert 0.001 < page(watcher).total("agent_cost_dollars_total") <= 0.002


@pytest.mark.parametrize("way", WAYS)
def test_stops_a_run_that_hangs_in_a_model_call(way: Any, limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="200ms")
    llm.set(None, lambda request: Hang(20))
    started_s = time.monotonic()

    error = stopped(llm, way())

    assert "latency" == error.limit
    assert 0.2 <= error.value < 5
    assert time.monotonic() - started_s < 5
    assert {"stopped": 1} == outcomes(watcher)


@function_tool
async def sleepy(key: str) -> str:
    await asyncio.sleep(20)
    return "never"


@pytest.mark.parametrize("way", WAYS)
def test_stops_a_run_that_hangs_in_an_async_tool(way: Any, limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="200ms")
    llm.set(None, endless("sleepy"))

    assert "latency" == stopped(llm, way(sleepy)).limit
    assert {"stopped": 1} == outcomes(watcher)


def test_a_sync_tool_is_left_behind_in_its_thread(limited: Any, llm: FakeLLM) -> None:
    limited(max_latency="200ms")
    release, ended = threading.Event(), threading.Event()

    @function_tool
    def blocking(key: str) -> str:
        release.wait(10)
        ended.set()
        return "late"

    async def program(setup: Setup) -> None:
        try:
            await Runner.run(looping(setup, blocking), "hi", run_config=CONFIG)
        finally:
            assert not ended.is_set()
            release.set()

    llm.set(None, endless("blocking"))

    assert "latency" == stopped(llm, program).limit
    assert ended.wait(10)


def test_a_timeout_of_the_users_own_stays_one(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="30s")
    llm.set(None, lambda request: Hang(20))

    async def program(setup: Setup) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(plain()(setup), 0.2)

    run(llm, program)
    assert {"cancelled": 1} == outcomes(watcher)


def test_a_stream_that_the_user_cancels_ends_in_silence(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="30s", max_tokens=10_000)
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        result = Runner.run_streamed(looping(setup), "hi", run_config=CONFIG)
        async for _ in result.stream_events():
            result.cancel()
        assert result.final_output is None

    run(llm, program)
    assert {"cancelled": 1} == outcomes(watcher)


# Traps.


def test_calls_inside_an_agent_used_as_tool_count_and_what_it_swallows_is_raised_again(
    limited: Any, llm: FakeLLM
) -> None:
    watcher = limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("sub"))

    error = stopped(llm, nested())

    assert "tokens" == error.limit
    assert (1, 3) == (sum(r.model == "o" for r in llm.requests), len(llm.requests) - 1)
    assert {"stopped": 1} == outcomes(watcher)
    assert 1 == page(watcher).total("agent_sla_breaches_total", action="stop")


def test_what_the_tool_swallowed_is_raised_even_if_its_answer_would_end_the_run(
    limited: Any, llm: FakeLLM
) -> None:
    limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("sub"))

    async def program(setup: Setup) -> None:
        outer = Agent(
            name="outer",
            model=OpenAIResponsesModel("o", setup.client),
            tools=[as_tool(setup)],
            tool_use_behavior="stop_on_first_tool",
        )
        await Runner.run(outer, "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit


def test_a_streamed_agent_as_tool_shares_the_account(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("sub"))

    async def listen(event: Any) -> None:
        pass

    assert "tokens" == stopped(llm, nested(on_stream=listen)).limit


def test_agents_in_parallel_share_one_account(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=1_500)
    llm.set(None, endless())
    llm.set("o", calling("one", "two", "three"))

    assert "tokens" == stopped(llm, nested("one", "two", "three")).limit
    # The first calls of the three look smaller than they are.
    assert page(watcher).total("agent_tokens_total") <= 1_500 + 3 * PER_CALL


def test_a_run_that_hangs_in_an_agent_used_as_tool_is_stopped(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="300ms")
    llm.set(None, lambda request: Hang(20))
    llm.set("o", calling("sub"))

    assert "latency" == stopped(llm, nested()).limit
    assert {"stopped": 1} == outcomes(watcher)


def test_parallel_tool_calls_are_counted_together(limited: Any, llm: FakeLLM) -> None:
    limited(same_tool_call=3)
    llm.set(None, script([ToolCalls((ToolCall("lookup", {"key": "a"}),) * 5)]))
    tool = Tool()

    assert 4.0 == stopped(llm, plain(tool.tool)).value
    assert tool.calls <= 3


def test_run_sync_is_limited(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=500)
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded):
        sync(llm)
    assert {"stopped": 1} == outcomes(watcher)
    assert 3 == len(llm.requests)


def test_run_sync_that_hangs_is_stopped(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="200ms")
    llm.set(None, lambda request: Hang(20))

    with pytest.raises(tocsin.LimitExceeded):
        sync(llm)
    assert {"stopped": 1} == outcomes(watcher)


def sync(llm: FakeLLM) -> None:
    """Use run_sync on a loop that is closed afterwards, which it leaves open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0)
    try:
        Runner.run_sync(looping(Setup(client)), "hi", run_config=CONFIG)
    finally:
        loop.run_until_complete(client.close())
        loop.close()
        asyncio.set_event_loop(None)


class Recorder(RunHooks[Any]):
    """The user's own hooks."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            object.__getattribute__(self, "heard").append(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("way", WAYS)
def test_hooks_of_the_user_are_called(way: Any, limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=10_000)
    llm.set(None, script([ToolCalls((ToolCall("lookup", {"key": "a"}),)), Text("done")]))
    hooks = Recorder()

    run(llm, way(hooks=hooks))

    assert [
        "on_agent_start",
        "on_llm_start",
        "on_llm_end",
        "on_tool_start",
        "on_tool_end",
        "on_llm_start",
        "on_llm_end",
        "on_agent_end",
    ] == hooks.heard


def test_hooks_that_are_none_are_refused_by_the_sdk_itself(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=10_000)

    with pytest.raises(TypeError, match="RunHooks"):
        run(llm, plain(hooks=object()))


def test_a_run_that_nobody_traces_is_limited_too(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=500)
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        config = RunConfig(workflow_name="job", tracing_disabled=True)
        await Runner.run(looping(setup), "hi", run_config=config)

    error = stopped(llm, program)
    assert "job: stopped at" in str(error)
    assert error.run_id is None


def test_limits_of_the_sdk_itself_stay(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=10_000)
    llm.set(None, endless())

    with pytest.raises(MaxTurnsExceeded):
        run(llm, plain(max_turns=2))
    assert {"max_turns": 1} == outcomes(watcher)


def test_other_workflows_are_left_alone(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=1)

    async def program(setup: Setup) -> None:
        await Runner.run(looping(setup), "hi", run_config=RunConfig(workflow_name="other"))

    run(llm, program)
    assert {"ok": 1} == outcomes(watcher)


def test_every_workflow_can_be_limited(watch: Watch, llm: FakeLLM) -> None:
    watch().add_stops({"*": tocsin.StopLimits(max_turns=2)})
    llm.set(None, endless())

    assert 2.0 == stopped(llm, plain()).limit_value


def test_chat_completions_without_usage_count_as_estimated(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=2_000)
    llm.set(
        None, lambda r: ToolCalls((ToolCall("lookup", {"key": str(len(r.items))}),), usage=None)
    )

    async def program(setup: Setup) -> None:
        await Runner.run(chat(setup), "hi", run_config=CONFIG, max_turns=50)

    assert "tokens" == stopped(llm, program).limit
    assert page(watcher).total("tocsin_stop_unchecked_calls_total", reason="no_usage") > 3


def test_max_tokens_of_the_model_settings_are_reserved(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=1_000)

    async def program(setup: Setup) -> None:
        agent = Agent(
            name="A", model=setup.responses, model_settings=ModelSettings(max_tokens=1_000)
        )
        await Runner.run(agent, "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit
    assert () == llm.requests


def test_calls_that_failed_give_back_what_was_reserved(limited: Any, llm: FakeLLM) -> None:
    from tocsin.lab.fake_llm import Failure

    limited(max_tokens=1_000)
    llm.set(None, lambda request: Failure(500))

    async def program(setup: Setup) -> None:
        with tocsin.limit(tokens=400) as used:
            for _ in range(5):
                with contextlib.suppress(Exception):
                    await Runner.run(looping(setup), "hi", run_config=CONFIG)
        assert (0, 0) == (used.tokens, used.held_tokens)

    run(llm, program)
    assert 5 == len(llm.requests)


# What is told, and what is done before the stop.


class Pager:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, *, severity: str, message: str) -> None:
        self.sent.append((severity, message))


def test_metrics_and_alert_service_hear_of_a_stop(watch: Watch, llm: FakeLLM) -> None:
    watcher, pager = watch(), Pager()
    watcher.add_stops({"job": tocsin.StopLimits(max_tokens=500, warn_at=0.5)}, pager)
    llm.set(None, endless())
    before = page(watcher).by("agent_sla_breaches_total", "action")

    stopped(llm, plain())

    assert {} == before  # at 0, so that the first one is seen
    found = page(watcher)
    assert 1 == found.total(
        "agent_sla_breaches_total", workflow="job", limit="tokens", action="stop"
    )
    assert 1 == found.total("tocsin_stop_notices_total", limit="tokens", action="warn")
    watcher.close()
    assert ["warning", "critical"] == [severity for severity, _ in pager.sent]
    assert "job: 300 tokens so far, will stop at 500 tokens (run span_" in pager.sent[0][1]
    assert "over the limit of 500 tokens; 100 % gpt-4o in agent A (run span_" in pager.sent[1][1]


def test_error_names_the_run(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=500)
    llm.set(None, endless())

    error = stopped(llm, plain())
    watcher.flush()

    assert error.run_id is not None
    assert error.run_id in str(error)
    assert (error.trace_id or "").startswith("trace_")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [OpenAIResponsesModel, OpenAIChatCompletionsModel])
def test_switches_to_a_cheaper_model_before_it_stops(
    way: Any, model: Any, limited: Any, llm: FakeLLM
) -> None:
    watcher = limited(max_tokens=800, switch_at=0.5, switch={"gpt-4o": "gpt-4o-mini"})
    llm.set(None, endless())
    settings = ModelSettings(include_usage=True)

    async def program(setup: Setup) -> None:
        own = model("gpt-4o", setup.client)
        agent = Agent(name="A", model=own, tools=[Tool().tool], model_settings=settings)
        if way is plain:
            await Runner.run(agent, "hi", run_config=CONFIG)
        else:
            await drain(Runner.run_streamed(agent, "hi", run_config=CONFIG))
        assert "gpt-4o" == own.model

    stopped(llm, program)

    assert ["gpt-4o"] * 3 + ["gpt-4o-mini"] * 2 == [request.model for request in llm.requests]
    by_model = page(watcher).by("agent_llm_calls_total", "model")
    assert {"gpt-4o": 3, "gpt-4o-mini": 2} == by_model
    assert 1 == page(watcher).total("tocsin_stop_notices_total", action="switch")


# Failures of Tocsin's own.


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a bug")


FAULTS = [
    *((Cover, method) for method in ("before_llm", "after_llm", "before_tool", "check")),
    *((Ledger, method) for method in ("reserve", "settle")),
    *((Allowance, method) for method in ("lacks", "hold", "settle", "called", "check")),
    *((Forecast, method) for method in ("input_tokens", "expect", "ended")),
    *((Tariff, method) for method in ("cost_usd", "price")),
]
BEFORE_CALLS = [
    *((Cover, "before_llm"), (Ledger, "reserve"), (Allowance, "lacks"), (Allowance, "hold")),
    *((Forecast, "input_tokens"), (Forecast, "expect"), (Tariff, "cost_usd")),
]


def name_of(fault: object) -> str:
    return getattr(fault, "__name__", str(fault))


@pytest.mark.parametrize(("part", "method"), FAULTS, ids=name_of)
def test_a_failure_of_ours_lets_calls_through(
    part: type, method: str, limited: Any, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = limited(max_tokens=10_000, max_latency="60s", max_cost=10, same_tool_call=9)
    llm.set(None, script([ToolCalls((ToolCall("lookup", {"key": "a"}),)), Text("done")]))
    monkeypatch.setattr(part, method, broken)

    run(llm, plain())

    watcher.flush()
    found = Page(watcher.families())
    assert {"ok": 1} == found.by("agent_workflow_runs_total", "outcome")
    assert found.total("tocsin_stop_unchecked_calls_total", reason="error") >= 1


@pytest.mark.parametrize(("part", "method"), BEFORE_CALLS, ids=name_of)
def test_a_failure_of_ours_stops_runs_that_are_closed(
    part: type, method: str, limited: Any, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(max_tokens=10_000, max_cost=10, on_failure="closed")
    monkeypatch.setattr(part, method, broken)

    assert "failure" == stopped(llm, plain()).limit
    assert () == llm.requests


class Odd(Model):
    """A model of the user's own, without a name, that reports usage of its own."""

    async def get_response(self, *_: Any, **__: Any) -> Any:
        from tests.fakes.programs import Instant

        return await Instant().get_response()

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("not streamed here")


def test_models_of_the_users_own_are_limited(limited: Any, llm: FakeLLM) -> None:
    limited(max_turns=1, max_cost="1 USD")

    async def program(setup: Setup) -> None:
        await Runner.run(Agent(name="A", model=Odd()), "hi", run_config=CONFIG)

    run(llm, program)


# with tocsin.limit(...)


async def together(setup: Setup, count: int) -> list[Any]:
    runs = [
        Runner.run(looping(setup), f"hi {number}", run_config=CONFIG) for number in range(count)
    ]
    return await asyncio.gather(*runs, return_exceptions=True)


def test_limits_all_runs_in_a_block_together(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()

    async def program(setup: Setup) -> None:
        async with tocsin.limit(tokens=500):
            for _ in range(3):
                await Runner.run(looping(setup), "hi", run_config=CONFIG)
            with pytest.raises(tocsin.LimitExceeded, match="over the limit of 500 tokens"):
                await Runner.run(looping(setup, model_settings=ModelSettings(max_tokens=60)), "hi")
        await Runner.run(looping(setup), "hi", run_config=CONFIG)

    run(llm, program)
    assert {"ok": 4, "stopped": 1} == outcomes(watcher)


def test_a_hundred_parallel_runs_share_one_dollar(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    usage = Usage(input=1_000, cached=0, output=1_000, reasoning=0)  # 0.0125 USD at gpt-4o
    llm.set(
        None, lambda r: ToolCalls((ToolCall("lookup", {"key": str(len(r.items))}),), usage=usage)
    )

    async def spend(setup: Setup) -> tuple[list[Any], Decimal]:
        with tocsin.limit(cost="1.00 USD") as used:
            return await together(setup, 100), used.cost_usd

    errors, spent = run(llm, spend)

    assert {tocsin.LimitExceeded} == {type(error) for error in errors}
    assert spent == sum(llm.counts.values()) * Decimal("0.0125")
    assert Decimal("0.8") < spent <= Decimal("1.00") + Decimal("0.0125")
    assert 100 == page(watcher).total("agent_workflow_runs_total", outcome="stopped")


def test_a_block_ends_runs_at_its_time(watch: Watch, llm: FakeLLM) -> None:
    watch()
    llm.set(None, lambda request: Hang(20))

    async def program(setup: Setup) -> None:
        with tocsin.limit(latency="200ms"):
            await Runner.run(looping(setup), "hi")

    assert "latency" == stopped(llm, program).limit


def test_a_block_inside_a_tool_is_held_to_the_run_too(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=400)
    llm.set(None, endless("ask"))

    async def program(setup: Setup) -> None:
        @function_tool
        async def ask(key: str) -> str:
            with tocsin.limit(tokens=10_000):
                await Runner.run(Agent(name="B", model=setup.responses, tools=[ask]), "hi")
            return "done"

        await Runner.run(looping(setup, ask), "hi", run_config=CONFIG)

    assert 400.0 == stopped(llm, program).limit_value


# Settings.


def test_limits_below_the_service_level_are_refused_all_at_once(watch: Watch) -> None:
    watcher = watch()
    watcher.add_slas({"job": tocsin.WorkflowSLA(15.0, 8000), "*": tocsin.WorkflowSLA(60.0)})

    with pytest.raises(tocsin.ConfigError) as caught:
        watcher.add_stops(
            {
                "job": tocsin.StopLimits(max_latency="10s", max_tokens=8000),
                "other": tocsin.StopLimits(max_latency="30s"),
            }
        )

    assert "stops['job']: stops at 10.0 s, which is below the service level of 15.0 s" in str(
        caught.value
    )
    assert "stops['other']" in str(caught.value)
    assert "tokens" not in str(caught.value)


def test_what_is_no_limit_is_refused(watch: Watch) -> None:
    wrong: Any = {"job": {"max_tokens": 5}}

    with pytest.raises(tocsin.ConfigError, match="StopLimits"):
        watch().add_stops(wrong)


def test_limits_need_the_runner(watch: Watch) -> None:
    with pytest.raises(tocsin.ConfigError, match="watch_runner"):
        watch(watch_runner=False).add_stops({"job": tocsin.StopLimits(max_turns=1)})
