"""Hard limits on the real SDK where runs hide from them, swallow them, or end in other ways."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    Model,
    ModelRetrySettings,
    ModelSettings,
    OpenAIResponsesModel,
    RunHooks,
    Runner,
    SQLiteSession,
    function_tool,
    handoff,
    input_guardrail,
    retry_policies,
)
from agents.items import ModelResponse
from openai import AsyncOpenAI

import tocsin
from tests.e2e.setup import Setup, drain
from tests.e2e.stopping import (
    CONFIG,
    PER_CALL,
    WAYS,
    calling,
    endless,
    looping,
    outcomes,
    page,
    plain,
    run,
    stopped,
)
from tests.fakes.mcp_server import FailingServer
from tests.fakes.programs import Instant
from tocsin.app.run_guard import LEDGER
from tocsin.lab.fake_llm import (
    Failure,
    FakeLLM,
    Hang,
    Latency,
    Reply,
    Request,
    Text,
    ToolCall,
    ToolCalls,
    script,
)


def once(name: str, **arguments: str) -> Callable[[Request], Reply]:
    return script([ToolCalls((ToolCall(name, arguments),)), Text("done")])


def outer(setup: Setup, *tools: Any, **options: Any) -> Agent[Any]:
    model = OpenAIResponsesModel("o", setup.client)
    return Agent(name="outer", model=model, tools=list(tools), **options)


# Who makes the calls.


def test_agents_that_a_run_is_handed_to_go_on_with_its_limits(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("transfer_to_second"))

    async def program(setup: Setup) -> None:
        second = looping(setup)
        second.name = "second"
        await Runner.run(outer(setup, handoffs=[handoff(second)]), "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit
    assert 4 * PER_CALL == page(watcher).total("agent_tokens_total")
    assert {"stopped": 1} == outcomes(watcher)


async def asked(setup: Setup) -> str:
    result = await Runner.run(looping(setup), "hi")
    return str(result.final_output)


def swallows(_context: Any, _error: Exception) -> str:
    return "no answer"


@pytest.mark.parametrize("handler", ["default", "own", "none"])
def test_a_tool_that_runs_an_agent_itself_cannot_swallow_the_stop(
    handler: str, limited: Any, llm: FakeLLM
) -> None:
    watcher = limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("ask"))

    async def program(setup: Setup) -> None:
        async def ask(input: str) -> str:  # noqa: A002 - as the model calls it
            return await asked(setup)

        tool = {
            "default": function_tool(ask),
            "own": function_tool(ask, failure_error_function=swallows),
            "none": function_tool(ask, failure_error_function=None),
        }[handler]
        await Runner.run(outer(setup, tool), "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit
    assert 1 == sum(request.model == "o" for request in llm.requests)
    assert 1 == page(watcher).total("agent_sla_breaches_total", action="stop")


def test_a_tool_that_catches_the_stop_itself_is_stopped_after_it(
    limited: Any, llm: FakeLLM
) -> None:
    limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("ask"))

    async def program(setup: Setup) -> None:
        @function_tool
        async def ask(input: str) -> str:  # noqa: A002
            with contextlib.suppress(Exception):
                await asked(setup)
            return "no answer"

        await Runner.run(outer(setup, ask), "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit


def test_runs_gathered_in_a_tool_share_the_account(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=1_500)
    llm.set(None, endless())
    llm.set("o", calling("ask"))

    async def program(setup: Setup) -> None:
        @function_tool
        async def ask(input: str) -> str:  # noqa: A002
            results = await asyncio.gather(*(asked(setup) for _ in range(4)))
            return str(results)

        await Runner.run(outer(setup, ask), "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit
    assert page(watcher).total("agent_tokens_total") <= 1_500 + 4 * PER_CALL


def in_thread(llm: FakeLLM) -> None:
    """Use run_sync where there is no loop yet, as in a worker thread."""

    async def main() -> None:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
            await asked(Setup(client))

    asyncio.run(main())


def test_runs_in_the_thread_of_a_sync_tool_share_the_account(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=700)
    llm.set(None, endless())
    llm.set("o", calling("ask"))

    async def program(setup: Setup) -> None:
        @function_tool
        def ask(input: str) -> str:  # noqa: A002
            in_thread(llm)
            return "done"

        await Runner.run(outer(setup, ask), "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit


def test_a_thread_of_the_tools_own_has_the_limits_of_its_workflow_only(
    limited: Any, llm: FakeLLM
) -> None:
    """A new thread starts in an empty context: nothing there tells whose it is."""
    watcher = limited(max_tokens=700)
    llm.set(None, script([ToolCalls((ToolCall("lookup", {"key": str(n)}),)) for n in range(8)]))
    llm.set("o", once("ask", input="go"))

    async def program(setup: Setup) -> None:
        @function_tool
        def ask(input: str) -> str:  # noqa: A002
            def alone() -> None:
                with contextlib.suppress(Exception):
                    in_thread(llm)

            thread = threading.Thread(target=alone)
            thread.start()
            thread.join(20)
            return "done"

        await Runner.run(outer(setup, ask), "hi", run_config=CONFIG)

    run(llm, program)
    assert 1 == outcomes(watcher)["ok"]


@pytest.mark.parametrize("is_parallel", [True, False])
def test_guardrails_that_ask_an_agent_count_too(
    is_parallel: bool, limited: Any, llm: FakeLLM
) -> None:
    limited(max_tokens=400)
    llm.set("j", lambda request: Text("fine"))
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        @input_guardrail(run_in_parallel=is_parallel)
        async def check(_context: Any, _agent: Any, _input: Any) -> GuardrailFunctionOutput:
            judge = OpenAIResponsesModel("j", setup.client)
            await Runner.run(Agent(name="judge", model=judge), "fine?")
            return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

        await Runner.run(looping(setup, input_guardrails=[check]), "hi", run_config=CONFIG)

    assert "tokens" == stopped(llm, program).limit
    assert 2 >= sum(request.model != "j" for request in llm.requests)


def test_tools_of_mcp_servers_are_counted(limited: Any, llm: FakeLLM) -> None:
    limited(same_tool_call=2)
    llm.set(None, script([ToolCalls((ToolCall("query"),))]))

    async def program(setup: Setup) -> None:
        agent = Agent(name="A", model=setup.responses, mcp_servers=[FailingServer()])
        await Runner.run(agent, "hi", run_config=CONFIG)

    assert "same_tool_call" == stopped(llm, program).limit
    assert 3 == len(llm.requests)


class Nameless(Model):
    """A model of the user's own, such as one for a library that nobody here knows."""

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        response: ModelResponse = await Instant().get_response()
        return response

    async def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(20)
        yield None


def test_a_model_without_a_name_is_held_to_tokens_and_turns(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_turns=1, max_cost="1 USD")

    async def program(setup: Setup) -> None:
        agent = Agent(name="A", model=Nameless())
        with tocsin.limit(turns=1):
            await Runner.run(agent, "hi", run_config=CONFIG)
            await Runner.run(agent, "hi", run_config=CONFIG)

    assert "turns" == stopped(llm, program).limit
    # It has no price, so its cost is not limited, and that is counted.
    assert 1 == page(watcher).total("tocsin_stop_unchecked_calls_total", reason="unpriced")


def test_a_stream_of_a_model_of_the_users_own_ends_in_time(limited: Any, llm: FakeLLM) -> None:
    limited(max_latency="200ms")

    async def program(setup: Setup) -> None:
        agent = Agent(name="A", model=Nameless())
        await drain(Runner.run_streamed(agent, "hi", run_config=CONFIG))

    assert "latency" == stopped(llm, program).limit


# How calls and tools end.


def test_a_stream_is_stopped_in_the_midst_of_an_answer(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="400ms")
    slow = Latency(first_token_s=0.05, per_token_s=0.5)
    llm.set(None, lambda request: Text("word " * 40, latency=slow))
    heard: set[str] = set()

    async def program(setup: Setup) -> None:
        result = Runner.run_streamed(looping(setup), "hi", run_config=CONFIG)
        async for event in result.stream_events():
            heard.add(event.type)

    assert "latency" == stopped(llm, program).limit
    assert "raw_response_event" in heard
    assert {"stopped": 1} == outcomes(watcher)


def test_attempts_that_the_sdk_repeats_are_one_call(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=10_000, max_turns=1)
    replies: Iterator[Reply] = iter([Failure(500), Failure(500), Text("done")])
    llm.set(None, lambda request: next(replies))
    retry = ModelRetrySettings(max_retries=2, policy=retry_policies.http_status([500]))

    async def program(setup: Setup) -> None:
        agent = looping(setup, model_settings=ModelSettings(retry=retry))
        with tocsin.limit(tokens=10_000) as used:
            await Runner.run(agent, "hi", run_config=CONFIG)
        assert (PER_CALL, 1, 0, 0) == (used.tokens, used.turns, used.held_tokens, used.in_flight)

    run(llm, program)
    assert {"ok": 1} == outcomes(watcher)
    assert 3 == len(llm.requests)


def test_a_tool_that_ran_out_of_its_own_time_is_no_stop(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="30s", max_tokens=10_000)
    llm.set(None, once("slow", key="a"))

    @function_tool(timeout=0.05)
    async def slow(key: str) -> str:
        await asyncio.sleep(20)
        return "never"

    run(llm, plain(slow))
    assert {"ok": 1} == outcomes(watcher)


async def failing(run: Any) -> None:
    with pytest.raises(Exception, match="a bug of the user's"):
        await run


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", ["on_llm_start", "on_llm_end", "on_tool_start", "on_tool_end"])
def test_what_hooks_of_the_user_raise_comes_out_and_gives_back_what_was_reserved(
    step: str, way: Any, limited: Any, llm: FakeLLM
) -> None:
    watcher = limited(max_tokens=10_000)
    llm.set(None, once("lookup", key="a"))

    async def fail(*_: Any) -> None:
        raise LookupError("a bug of the user's")

    hooks = RunHooks[Any]()
    setattr(hooks, step, fail)

    async def program(setup: Setup) -> None:
        with tocsin.limit(tokens=10_000) as used:
            await failing(way(hooks=hooks)(setup))
        assert (0, 0) == (used.held_tokens, used.in_flight)

    run(llm, program)
    assert {"error": 1} == outcomes(watcher)


def test_hooks_of_the_agent_are_called_too(limited: Any, llm: FakeLLM) -> None:
    from agents import AgentHooks

    limited(max_tokens=10_000)
    heard: list[str] = []

    class Recorder(AgentHooks[Any]):
        async def on_llm_start(self, *_: Any) -> None:
            heard.append("llm")

        async def on_tool_end(self, *_: Any) -> None:
            heard.append("tool")

    llm.set(None, once("lookup", key="a"))

    async def program(setup: Setup) -> None:
        await Runner.run(looping(setup, hooks=Recorder()), "hi", run_config=CONFIG)

    run(llm, program)
    assert ["llm", "tool", "llm"] == heard


def test_a_cancelled_task_stays_cancelled_and_gives_back(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_latency="30s", max_tokens=10_000)
    llm.set(None, lambda request: Hang(20))

    async def program(setup: Setup) -> None:
        with tocsin.limit(tokens=10_000) as used:
            task = asyncio.create_task(Runner.run(looping(setup), "hi", run_config=CONFIG))
            while not used.in_flight:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (0, 0) == (used.held_tokens, used.in_flight)

    run(llm, program)
    assert {"cancelled": 1} == outcomes(watcher)


def test_a_stream_that_is_cancelled_after_its_turn_settles_it(limited: Any, llm: FakeLLM) -> None:
    limited(max_latency="30s", max_tokens=10_000)
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        with tocsin.limit(tokens=10_000) as used:
            result = Runner.run_streamed(looping(setup), "hi", run_config=CONFIG)
            async for _ in result.stream_events():
                result.cancel(mode="after_turn")
        assert (PER_CALL, 0) == (used.tokens, used.in_flight)

    run(llm, program)
    assert 1 == len(llm.requests)


def test_a_stream_that_nobody_reads_on_is_stopped_in_the_background(
    limited: Any, llm: FakeLLM
) -> None:
    watcher = limited(max_tokens=500)
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        result = Runner.run_streamed(looping(setup), "hi", run_config=CONFIG)
        async for _ in result.stream_events():
            break
        assert result.run_loop_task is not None
        with pytest.raises(tocsin.LimitExceeded):
            await result.run_loop_task

    run(llm, program)
    assert 3 == len(llm.requests)
    assert {"stopped": 1} == outcomes(watcher)


# Runs that go on.


def test_a_session_outlives_the_run_that_was_stopped(limited: Any, llm: FakeLLM) -> None:
    watcher = limited(max_tokens=500)
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        session = SQLiteSession("chat")
        with pytest.raises(tocsin.LimitExceeded):
            await Runner.run(looping(setup), "hi", run_config=CONFIG, session=session)
        llm.set(None, lambda request: Text("done"))
        result = await Runner.run(looping(setup), "again", session=session)
        assert "done" == result.final_output

    run(llm, program)
    assert {"stopped": 1, "ok": 1} == outcomes(watcher)


@pytest.mark.parametrize("way", ["state", "json"])
def test_a_run_that_is_resumed_goes_on_with_what_it_has_left(
    way: str, limited: Any, llm: FakeLLM
) -> None:
    from agents import RunState

    watcher = limited(max_tokens=500, max_cost="1 USD", warn_at=0.001)
    llm.set(None, endless("refund"))

    async def program(setup: Setup) -> None:
        @function_tool(needs_approval=True)
        def refund(key: str) -> str:
            return "refunded"

        agent = looping(setup, refund)
        paused = await Runner.run(agent, "hi", run_config=CONFIG)
        state = paused.to_state()
        if way == "json":
            state = await RunState.from_json(agent, state.to_json())
        state.approve(state.get_interruptions()[0])
        while True:
            paused = await Runner.run(agent, state, run_config=CONFIG)
            state = paused.to_state()
            state.approve(state.get_interruptions()[0])

    error = stopped(llm, program)

    assert ("tokens", 500.0) == (error.limit, error.limit_value)
    assert 3 == len(llm.requests)
    assert 1 == outcomes(watcher)["stopped"]


def test_nothing_is_left_locked(limited: Any, llm: FakeLLM) -> None:
    limited(max_tokens=500)
    llm.set(None, endless())
    stopped(llm, plain())

    assert not LEDGER.lock.locked()
