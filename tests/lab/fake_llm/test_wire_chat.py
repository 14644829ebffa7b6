import asyncio
from typing import Any

import pytest
from openai import APIError, InternalServerError
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tocsin.lab.fake_llm import (
    FakeLLM,
    StreamFailure,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    answer,
    script,
)

CALLS = ToolCalls((ToolCall("weather", {"city": "Paris"}), ToolCall("time", "not json")))
USER = [{"role": "user", "content": "hi"}]
WITH_USAGE = {"include_usage": True}


def ask(connect: Any, **options: Any) -> ChatCompletion:
    async def call() -> ChatCompletion:
        async with connect() as client:
            completion: ChatCompletion = await client.chat.completions.create(
                model="m", messages=USER, **options
            )
            return completion

    return asyncio.run(call())


def stream(connect: Any, **options: Any) -> list[ChatCompletionChunk]:
    async def call() -> list[ChatCompletionChunk]:
        async with connect() as client:
            chunks = await client.chat.completions.create(
                model="m", messages=USER, stream=True, **options
            )
            return [chunk async for chunk in chunks]

    return asyncio.run(call())


def test_text(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", answer("Hello, world."))

    choice = ask(connect).choices[0]

    assert ("Hello, world.", "stop") == (choice.message.content, choice.finish_reason)


def test_streamed_text(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", answer("Hello, wide world."))

    choices = [chunk.choices[0] for chunk in stream(connect)]

    assert "Hello, wide world." == "".join(choice.delta.content or "" for choice in choices)
    assert [None, None, None, None, "stop"] == [choice.finish_reason for choice in choices]


def test_parallel_tool_calls(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([CALLS]))

    choice = ask(connect).choices[0]

    calls = [call for call in choice.message.tool_calls or [] if call.type == "function"]
    assert "tool_calls" == choice.finish_reason
    assert [("weather", '{"city":"Paris"}'), ("time", "not json")] == [
        (call.function.name, call.function.arguments) for call in calls
    ]
    assert 2 == len({call.id for call in calls})


def test_streamed_tool_calls(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([CALLS]))

    choices = [chunk.choices[0] for chunk in stream(connect)]

    arguments = {0: "", 1: ""}
    for call in (call for choice in choices for call in choice.delta.tool_calls or ()):
        assert call.function is not None
        arguments[call.index] += call.function.arguments or ""
    assert {0: '{"city":"Paris"}', 1: "not json"} == arguments
    assert "tool_calls" == choices[-1].finish_reason


def test_usage_with_details(llm: FakeLLM, connect: Any) -> None:
    usage = Usage(input=10, cached=4, cache_write=3, output=5, reasoning=2)
    llm.set("m", script([Text("ok", usage=usage)]))

    reported = ask(connect).usage

    assert reported is not None
    assert reported.prompt_tokens_details is not None
    assert reported.completion_tokens_details is not None
    assert (10, 5, 15) == (
        reported.prompt_tokens,
        reported.completion_tokens,
        reported.total_tokens,
    )
    assert (4, 3, 2) == (
        reported.prompt_tokens_details.cached_tokens,
        reported.prompt_tokens_details.cache_write_tokens,
        reported.completion_tokens_details.reasoning_tokens,
    )


def test_usage_can_be_left_out(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Text("ok", usage=None)]))

    assert None is ask(connect).usage


def test_stream_has_no_usage_unless_asked(connect: Any) -> None:
    assert [] == [chunk for chunk in stream(connect) if chunk.usage]


def test_stream_ends_with_usage_when_asked(connect: Any) -> None:
    *before, last = stream(connect, stream_options=WITH_USAGE)

    assert last.usage is not None
    assert (120, []) == (last.usage.prompt_tokens, last.choices)
    assert [] == [chunk for chunk in before if chunk.usage]


def test_stream_asked_for_usage_that_is_not_reported(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Text("ok", usage=None)]))

    assert [] == [chunk for chunk in stream(connect, stream_options=WITH_USAGE) if chunk.usage]


def test_service_tier_is_the_requested_one(connect: Any) -> None:
    assert "flex" == ask(connect, service_tier="flex").service_tier


def test_service_tier_is_in_every_chunk(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Text("ok", service_tier="priority")]))

    assert {"priority"} == {chunk.service_tier for chunk in stream(connect)}


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_finish_reason(llm: FakeLLM, connect: Any, finish: Any) -> None:
    llm.set("m", script([Text("cut", finish)]))

    assert finish == ask(connect).choices[0].finish_reason


def test_stream_failure_is_an_error_event(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([StreamFailure(after_chunks=2, message="gave up")]))

    with pytest.raises(APIError, match="gave up"):
        stream(connect)


def test_failure_without_stream_is_a_500(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([StreamFailure(message="gave up")]))

    with pytest.raises(InternalServerError, match="gave up"):
        ask(connect)
