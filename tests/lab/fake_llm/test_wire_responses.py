import asyncio
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent

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


def ask(connect: Any, **options: Any) -> Response:
    async def call() -> Response:
        async with connect() as client:
            response: Response = await client.responses.create(model="m", input="hi", **options)
            return response

    return asyncio.run(call())


def stream(connect: Any, **options: Any) -> list[ResponseStreamEvent]:
    async def call() -> list[ResponseStreamEvent]:
        async with connect() as client:
            events = await client.responses.create(model="m", input="hi", stream=True, **options)
            return [event async for event in events]

    return asyncio.run(call())


def test_text(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", answer("Hello, world."))

    assert "Hello, world." == ask(connect).output_text


def test_streamed_text_has_the_event_order_of_the_api(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", answer("Hello world"))

    assert [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ] == [event.type for event in stream(connect)]


def test_stream_is_numbered_from_zero(connect: Any) -> None:
    events = stream(connect)

    assert list(range(len(events))) == [event.sequence_number for event in events]


def test_deltas_join_to_the_text(llm: FakeLLM, connect: Any) -> None:
    text = "  Two\n\nparagraphs, é and 漢字. \n"
    llm.set("m", answer(text))

    events = stream(connect)

    assert text == "".join(e.delta for e in events if e.type == "response.output_text.delta")


def test_parallel_tool_calls(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([CALLS]))

    calls = [item for item in ask(connect).output if item.type == "function_call"]

    assert [("weather", '{"city":"Paris"}'), ("time", "not json")] == [
        (call.name, call.arguments) for call in calls
    ]
    assert 2 == len({call.call_id for call in calls})


def test_streamed_tool_calls(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([CALLS]))

    events = stream(connect)

    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
    assert ['{"city":"Paris"}', "not json"] == [event.arguments for event in done]
    assert '{"city":"Paris"}' == "".join(e.delta for e in deltas if e.output_index == 0)


def test_streamed_and_plain_answers_are_equal(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([CALLS]))
    final = stream(connect)[-1]
    assert final.type == "response.completed"

    plain = ask(connect)

    varying = {"id", "call_id", "created_at"}
    assert [item.model_dump(exclude=varying) for item in plain.output] == [
        item.model_dump(exclude=varying) for item in final.response.output
    ]
    assert plain.usage == final.response.usage


def test_usage_with_details(llm: FakeLLM, connect: Any) -> None:
    usage = Usage(input=10, cached=4, cache_write=3, output=5, reasoning=2)
    llm.set("m", script([Text("ok", usage=usage)]))

    reported = ask(connect).usage

    assert reported is not None
    assert (10, 4, 3) == (
        reported.input_tokens,
        reported.input_tokens_details.cached_tokens,
        reported.input_tokens_details.cache_write_tokens,
    )
    assert (5, 2, 15) == (
        reported.output_tokens,
        reported.output_tokens_details.reasoning_tokens,
        reported.total_tokens,
    )


def test_usage_can_be_left_out(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Text("ok", usage=None)]))

    assert None is ask(connect).usage


def test_service_tier_is_the_requested_one(connect: Any) -> None:
    assert "flex" == ask(connect, service_tier="flex").service_tier


def test_service_tier_of_the_reply_wins(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Text("ok", service_tier="priority")]))

    assert "priority" == ask(connect, service_tier="flex").service_tier


def test_no_service_tier_unless_asked(connect: Any) -> None:
    assert None is ask(connect).service_tier


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_cut_text_is_incomplete(llm: FakeLLM, connect: Any, finish: Any, reason: str) -> None:
    llm.set("m", script([Text("cut", finish)]))

    final = stream(connect)[-1]

    assert final.type == "response.incomplete"
    assert final.response.incomplete_details is not None
    assert reason == final.response.incomplete_details.reason


def test_stream_failure_ends_with_response_failed(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([StreamFailure(after_chunks=2, code="rate_limit_exceeded")]))

    *_, before, final = stream(connect)

    assert "response.output_text.delta" == before.type
    assert final.type == "response.failed"
    assert final.response.error is not None
    assert "rate_limit_exceeded" == final.response.error.code


def test_failure_without_stream_is_a_failed_response(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([StreamFailure()]))

    response = ask(connect)

    assert "failed" == response.status


def test_tools_are_echoed(connect: Any) -> None:
    tool = {"type": "function", "name": "a", "parameters": {"type": "object"}, "strict": True}

    assert ["a"] == [tool.name for tool in ask(connect, tools=[tool]).tools]  # type: ignore[union-attr]
