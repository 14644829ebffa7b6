"""The real Agents SDK against the fake server, over both APIs, streamed and not."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from agents import (
    Agent,
    ModelBehaviorError,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from agents.result import RunResultBase
from openai import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncOpenAI,
    InternalServerError,
    RateLimitError,
)

from tocsin.lab.fake_llm import (
    BreakStream,
    Drop,
    Failure,
    FakeLLM,
    Hang,
    Reply,
    StreamFailure,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    answer,
    script,
)

MODELS = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}
UNTRACED = RunConfig(tracing_disabled=True)
USAGE = Usage(input=100, cached=40, cache_write=7, output=20, reasoning=5)

pytestmark = [
    pytest.mark.parametrize("api", ["responses", "chat"]),
    pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"]),
]


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sunny in {city}."


def run(
    llm: FakeLLM,
    api: str,
    *,
    stream: bool,
    timeout: float = 5.0,
    server_history: bool = False,
    **agent_options: Any,
) -> RunResultBase:
    async def go() -> RunResultBase:
        async with AsyncOpenAI(
            base_url=llm.base_url, api_key="x", max_retries=0, timeout=timeout
        ) as client:
            agent = _agent(api, client, **agent_options)
            options: Any = {"run_config": UNTRACED, "auto_previous_response_id": server_history}
            if not stream:
                return await Runner.run(agent, "What is the weather?", **options)
            streamed = Runner.run_streamed(agent, "What is the weather?", **options)
            async for _ in streamed.stream_events():
                pass
            return streamed

    return asyncio.run(go())


def _agent(
    api: str, client: AsyncOpenAI, model: str = "m", handoff_to: str = "", **options: Any
) -> Agent[Any]:
    options = {"model_settings": ModelSettings(include_usage=True), **options}
    if handoff_to:
        options["handoffs"] = [_agent(api, client, model=handoff_to, name=handoff_to)]
    name = options.pop("name", "agent")
    return Agent(name=name, model=MODELS[api](model, client), **options)


def test_text(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", answer("Sunny and mild."))

    assert "Sunny and mild." == run(llm, api, stream=stream).final_output


def test_tool_call_round_trip(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", script([ToolCalls((ToolCall("weather", {"city": "Paris"}),)), Text("Done.")]))

    result = run(llm, api, stream=stream, tools=[weather])

    assert "Done." == result.final_output
    first, second = llm.requests
    assert (("weather",), 0, 1) == (first.tools, first.step, second.step)
    assert ("Sunny in Paris.",) == second.tool_outputs


def test_history_kept_by_the_server(llm: FakeLLM, api: str, stream: bool) -> None:
    call = ToolCalls((ToolCall("weather", {"city": "Paris"}),))
    llm.set("m", script([call, call, Text("Done.")]))

    result = run(llm, api, stream=stream, tools=[weather], server_history=api == "responses")

    assert "Done." == result.final_output
    assert [0, 1, 2] == [request.step for request in llm.requests]


def test_parallel_tool_calls_are_one_step(llm: FakeLLM, api: str, stream: bool) -> None:
    calls = tuple(ToolCall("weather", {"city": city}) for city in ("Paris", "Rome"))
    llm.set("m", script([ToolCalls(calls), Text("Done.")]))

    run(llm, api, stream=stream, tools=[weather])

    assert 1 == llm.requests[-1].step
    assert ("Sunny in Paris.", "Sunny in Rome.") == llm.requests[-1].tool_outputs


def test_handoff(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", script([ToolCalls((ToolCall("transfer_to_billing"),))]))
    llm.set("billing", script([Text("Paid."), Text("too late")], restart_on_handoff=True))

    result = run(llm, api, stream=stream, handoff_to="billing")

    assert ("Paid.", "billing") == (result.final_output, result.last_agent.name)


def test_usage_with_details(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", script([Text("ok", usage=USAGE)]))

    usage = run(llm, api, stream=stream).context_wrapper.usage

    assert (1, 100, 20, 120) == (
        usage.requests,
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
    )
    assert (40, 7, 5) == (
        usage.input_tokens_details.cached_tokens,
        usage.input_tokens_details.cache_write_tokens,
        usage.output_tokens_details.reasoning_tokens,
    )


def test_usage_not_reported_reads_as_one_request_and_no_tokens(
    llm: FakeLLM, api: str, stream: bool
) -> None:
    llm.set("m", script([Text("ok", usage=None)]))

    usage = run(llm, api, stream=stream).context_wrapper.usage

    assert (1, 0) == (usage.requests, usage.total_tokens)


@contextmanager
def raises(expected: type[Exception]) -> Iterator[None]:
    with pytest.raises(expected) as caught:
        yield
    assert expected is type(caught.value)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Failure(429), RateLimitError),
        (Hang(), APITimeoutError),
        (Drop(), APIConnectionError),
        (BreakStream(2), APIConnectionError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_failure_reaches_the_caller(
    llm: FakeLLM, api: str, stream: bool, reply: Reply, expected: type[Exception]
) -> None:
    llm.set("m", script([reply]))

    with raises(expected):
        run(llm, api, stream=stream, timeout=0.2 if reply == Hang() else 5.0)


def test_call_of_an_unknown_tool(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", script([ToolCalls((ToolCall("nothing"),))]))

    with raises(ModelBehaviorError):
        run(llm, api, stream=stream)


def test_stream_failure(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", script([StreamFailure(after_chunks=1)]))
    chat = APIError if stream else InternalServerError

    with raises(ModelBehaviorError if api == "responses" else chat):
        run(llm, api, stream=stream)


def test_usage_not_asked_for_is_missing_from_chat_streams(
    llm: FakeLLM, api: str, stream: bool
) -> None:
    result = run(llm, api, stream=stream, model_settings=ModelSettings())

    usage = result.context_wrapper.usage
    expected = 0 if (api, stream) == ("chat", True) else 150
    assert (1, expected) == (usage.requests, usage.total_tokens)


def test_text_cut_short(llm: FakeLLM, api: str, stream: bool) -> None:
    llm.set("m", script([Text("Sunny and", "length")]))

    if api == "responses":
        with raises(ModelBehaviorError):
            run(llm, api, stream=stream)
    else:
        assert "Sunny and" == run(llm, api, stream=stream).final_output
