"""Programs that use the real Agents SDK in every way its users do, well and badly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from agents import (
    Agent,
    GuardrailFunctionOutput,
    Model,
    ModelRetrySettings,
    ModelSettings,
    RunConfig,
    Runner,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
    retry_policies,
    trace,
)
from agents.items import ModelResponse
from agents.models.interface import ModelTracing
from agents.usage import Usage as SdkUsage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText
from pydantic import BaseModel

from tests.e2e.setup import Setup, drain
from tests.fakes.mcp_server import FailingServer
from tocsin.lab.fake_llm import Behaviour, Text, ToolCall, ToolCalls, script

Scenario = Callable[[Setup], Awaitable[object]]


@function_tool
def lookup(key: str) -> str:
    return f"value of {key}"


@function_tool
def broken(key: str) -> str:
    raise RuntimeError("no such table")


@function_tool(failure_error_function=None)
def crashing(key: str) -> str:
    raise RuntimeError("no such table")


@function_tool(timeout=0.05)
async def slow(key: str) -> str:
    await asyncio.sleep(30)
    return "never"


def call(name: str, **arguments: str) -> ToolCalls:
    return ToolCalls((ToolCall(name, arguments),))


def tool_then_answer(name: str) -> Behaviour:
    return script([call(name, key="a"), Text("done")])


async def plain_responses(setup: Setup) -> None:
    await Runner.run(Agent(name="A", model=setup.responses), "hi")


async def plain_chat(setup: Setup) -> None:
    await Runner.run(Agent(name="A", model=setup.chat), "hi")


async def streamed_responses(setup: Setup) -> None:
    await drain(Runner.run_streamed(Agent(name="A", model=setup.responses), "hi"))


async def streamed_responses_redacted(setup: Setup) -> None:
    config = RunConfig(trace_include_sensitive_data=False)
    agent = Agent(name="A", model=setup.responses)
    await drain(Runner.run_streamed(agent, "hi", run_config=config))


async def streamed_chat(setup: Setup) -> None:
    await drain(Runner.run_streamed(Agent(name="A", model=setup.chat), "hi"))


async def streamed_chat_with_usage(setup: Setup) -> None:
    settings = ModelSettings(include_usage=True)
    agent = Agent(name="A", model=setup.chat, model_settings=settings)
    await drain(Runner.run_streamed(agent, "hi"))


def using(*tools: Any) -> Scenario:
    async def run(setup: Setup) -> None:
        await Runner.run(Agent(name="A", model=setup.responses, tools=list(tools)), "hi")

    return run


async def redacted_tool(setup: Setup) -> None:
    config = RunConfig(trace_include_sensitive_data=False)
    agent = Agent(name="A", model=setup.responses, tools=[lookup])
    await Runner.run(agent, "hi", run_config=config)


async def failing_mcp_tool(setup: Setup) -> None:
    server = FailingServer()
    await Runner.run(Agent(name="A", model=setup.responses, mcp_servers=[server]), "hi")


async def sdk_retry(setup: Setup) -> None:
    retry = ModelRetrySettings(max_retries=2, policy=retry_policies.http_status([429, 500]))
    settings = ModelSettings(retry=retry)
    await Runner.run(Agent(name="A", model=setup.responses, model_settings=settings), "hi")


async def endless(setup: Setup, **options: Any) -> None:
    agent = Agent(name="A", model=setup.responses, tools=[lookup])
    await Runner.run(agent, "hi", max_turns=2, **options)


async def endless_rescued(setup: Setup) -> None:
    handlers: Any = {"max_turns": lambda _: {"final_output": "I gave up"}}
    await endless(setup, error_handlers=handlers)


async def endless_streamed(setup: Setup) -> None:
    agent = Agent(name="A", model=setup.responses, tools=[lookup])
    await drain(Runner.run_streamed(agent, "hi", max_turns=2))


def guardrail(*, trips: bool) -> tuple[Any, Any]:
    async def check(_context: Any, _agent: Any, _content: Any) -> GuardrailFunctionOutput:
        await asyncio.sleep(0.1)  # long enough for the model's call to be under way
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=trips)

    return input_guardrail(name="abuse")(check), output_guardrail(name="secrets")(check)


def guarded(*, inputs: bool | None, outputs: bool | None, streamed: bool = False) -> Scenario:
    """None: no such guardrail; otherwise whether it trips."""

    async def run(setup: Setup) -> None:
        agent: Agent[Any] = Agent(name="A", model=setup.responses)
        if inputs is not None:
            agent.input_guardrails = [guardrail(trips=inputs)[0]]
        if outputs is not None:
            agent.output_guardrails = [guardrail(trips=outputs)[1]]
        if streamed:
            await drain(Runner.run_streamed(agent, "hi"))
        else:
            await Runner.run(agent, "hi")

    return run


async def guarded_before(setup: Setup) -> None:
    """The input guardrail runs first; the model is never called."""
    first = guardrail(trips=True)[0]
    first.run_in_parallel = False
    await Runner.run(Agent(name="A", model=setup.responses, input_guardrails=[first]), "hi")


async def two_runs_in_a_trace(setup: Setup) -> None:
    with trace("order", group_id="chat-1"):
        agent = Agent(name="A", model=setup.responses)
        await Runner.run(agent, "hi")
        await Runner.run(agent, "hi again")


async def two_runs_in_a_trace_at_once(setup: Setup) -> None:
    with trace("order"):
        agent = Agent(name="A", model=setup.responses, tools=[lookup])
        await asyncio.gather(Runner.run(agent, "one"), Runner.run(agent, "two"))


def without_task_spans(scenario: Callable[[Setup, RunConfig], Awaitable[object]]) -> Scenario:
    """Run as older SDKs do, which record neither tasks nor turns."""

    async def run(setup: Setup) -> None:
        await scenario(setup, RunConfig(tracing={"include_task_and_turn_spans": False}))

    return run


async def old_handoff(setup: Setup, config: RunConfig) -> None:
    second = Agent(name="billing", model=setup.responses)
    first = Agent(name="triage", model=setup.responses, handoffs=[second])
    await Runner.run(first, "hi", run_config=config)


async def old_two_runs(setup: Setup, config: RunConfig) -> None:
    with trace("order"):
        agent = Agent(name="A", model=setup.responses)
        await Runner.run(agent, "hi", run_config=config)
        await Runner.run(agent, "hi again", run_config=config)


async def old_failure(setup: Setup, config: RunConfig) -> None:
    await Runner.run(Agent(name="A", model=setup.responses), "hi", run_config=config)


async def untraced(setup: Setup) -> None:
    config = RunConfig(tracing_disabled=True)
    await Runner.run(Agent(name="A", model=setup.responses), "hi", run_config=config)


class Answer(BaseModel):
    city: str


async def structured(setup: Setup) -> None:
    await Runner.run(Agent(name="A", model=setup.responses, output_type=Answer), "hi")


async def cancelled_by_wait_for(setup: Setup) -> None:
    run = Runner.run(Agent(name="A", model=setup.responses), "hi")
    await asyncio.wait_for(run, 0.3)


async def cancelled_task(setup: Setup) -> None:
    task = asyncio.create_task(Runner.run(Agent(name="A", model=setup.chat), "hi"))
    await asyncio.sleep(0.3)
    task.cancel()
    await task


async def cancelled_stream(setup: Setup) -> None:
    result = Runner.run_streamed(Agent(name="A", model=setup.responses), "hi")
    await asyncio.sleep(0.3)
    result.cancel()
    await drain(result)


async def cancelled_in_tool(setup: Setup) -> None:
    @function_tool
    async def forever() -> str:
        await asyncio.sleep(30)
        return "never"

    agent = Agent(name="A", model=setup.responses, tools=[forever])
    await asyncio.wait_for(Runner.run(agent, "hi"), 0.5)


async def abandoned_stream(setup: Setup) -> None:
    agent = Agent(name="A", model=setup.responses, tools=[lookup])
    result = Runner.run_streamed(agent, "hi")
    async for _ in result.stream_events():
        break
    task = result.run_loop_task
    assert task is not None
    await task


async def handing_off(setup: Setup) -> None:
    second = Agent(name="billing", model=setup.responses)
    await Runner.run(Agent(name="triage", model=setup.responses, handoffs=[second]), "hi")


async def handing_off_and_failing(setup: Setup) -> None:
    def refuse(_context: Any) -> None:
        raise RuntimeError("desk closed")

    second = Agent(name="billing", model=setup.responses)
    target = handoff(second, on_handoff=refuse)
    await Runner.run(Agent(name="triage", model=setup.responses, handoffs=[target]), "hi")


async def handing_off_to_two(setup: Setup) -> None:
    desks = [Agent(name=name, model=setup.responses) for name in ("billing", "sales")]
    await Runner.run(Agent(name="triage", model=setup.responses, handoffs=list(desks)), "hi")


async def agent_as_tool(setup: Setup) -> None:
    inner = Agent(name="inner", instructions="inner", model=setup.responses)
    tool = inner.as_tool("ask_inner", "Ask the inner agent.")
    await Runner.run(Agent(name="outer", model=setup.responses, tools=[tool]), "hi")


async def paused_for_approval(setup: Setup) -> tuple[Agent[Any], Any, Any]:
    """Run until a tool waits for a person; return agent, state and what waits."""

    @function_tool(needs_approval=True)
    def refund(key: str) -> str:
        return "refunded"

    agent = Agent(name="A", model=setup.responses, tools=[refund])
    paused = await Runner.run(agent, "hi")
    return agent, paused.to_state(), paused.interruptions[0]


async def approval(setup: Setup) -> None:
    agent, state, waiting = await paused_for_approval(setup)
    state.approve(waiting)
    await Runner.run(agent, state)


async def rejection(setup: Setup) -> None:
    agent, state, waiting = await paused_for_approval(setup)
    state.reject(waiting)
    await Runner.run(agent, state)


async def bare_call(model: Model) -> ModelResponse:
    """Call a model outside the runner's loop."""
    return await model.get_response(
        None,
        "later",
        ModelSettings(),
        [],
        None,
        [],
        ModelTracing.ENABLED,
        previous_response_id=None,
        conversation_id=None,
        prompt=None,
    )


async def detached(setup: Setup) -> None:
    """A tool leaves a model call behind that ends after its run."""
    left: list[asyncio.Task[Any]] = []

    @function_tool
    async def leave() -> str:
        left.append(asyncio.create_task(bare_call(setup.responses)))
        await asyncio.sleep(0.05)
        return "left it running"

    await Runner.run(Agent(name="A", model=setup.responses, tools=[leave]), "hi")
    await asyncio.gather(*left)


class SilentModel(Model):
    """A model of one's own: the SDK records no span for its calls."""

    def __init__(self, usage: SdkUsage) -> None:
        self._usage = usage

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        text = ResponseOutputText(text="hello", type="output_text", annotations=[])
        message = ResponseOutputMessage(
            id="m", content=[text], role="assistant", status="completed", type="message"
        )
        return ModelResponse(output=[message], usage=self._usage, response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("not streamed here")


def own_model(usage: SdkUsage) -> Scenario:
    async def run(setup: Setup) -> None:
        await Runner.run(Agent(name="A", model=SilentModel(usage)), "hi")

    return run
