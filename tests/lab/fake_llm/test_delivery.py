import asyncio
import time
from typing import Any

import pytest
from openai import APIConnectionError, APITimeoutError

from tocsin.lab.fake_llm import (
    BreakStream,
    Drop,
    Failure,
    FakeLLM,
    Hang,
    Latency,
    Reply,
    StreamFailure,
    Text,
    script,
)

BOTH_APIS = pytest.mark.parametrize("api", ["responses", "chat"])
STREAMED_OR_NOT = pytest.mark.parametrize("stream", [False, True])


async def read(client: Any, api: str, stream: bool) -> list[tuple[float, Any]]:
    """Every event or chunk, or the one answer, with its time since the call."""
    started = time.monotonic()
    if api == "responses":
        result = await client.responses.create(model="m", input="hi", stream=stream)
    else:
        user = [{"role": "user", "content": "hi"}]
        result = await client.chat.completions.create(model="m", messages=user, stream=stream)
    if not stream:
        return [(time.monotonic() - started, result)]
    return [(time.monotonic() - started, event) async for event in result]


def ask(connect: Any, api: str, stream: bool, timeout: float = 5.0) -> list[tuple[float, Any]]:
    async def call() -> list[tuple[float, Any]]:
        async with connect(timeout=timeout) as client:
            return await read(client, api, stream)

    return asyncio.run(call())


@BOTH_APIS
@STREAMED_OR_NOT
def test_hang_times_out(llm: FakeLLM, connect: Any, api: str, stream: bool) -> None:
    llm.set("m", script([Hang()]))

    with pytest.raises(APITimeoutError):
        ask(connect, api, stream, timeout=0.1)


def test_hang_ends_by_closing(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Hang(0.05)]))

    with pytest.raises(APIConnectionError) as caught:
        ask(connect, "responses", False)

    assert not isinstance(caught.value, APITimeoutError)


@BOTH_APIS
@STREAMED_OR_NOT
@pytest.mark.parametrize("reply", [Drop(), BreakStream(1), BreakStream(0)])
def test_lost_connection_is_a_connection_error(
    llm: FakeLLM, connect: Any, api: str, stream: bool, reply: Reply
) -> None:
    llm.set("m", script([reply]))

    with pytest.raises(APIConnectionError):
        ask(connect, api, stream)


def test_broken_stream_delivers_the_pieces_before(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([BreakStream(2, "One two three four.")]))
    said: list[str] = []

    async def call() -> None:
        async with connect() as client:
            async for event in await client.responses.create(model="m", input="hi", stream=True):
                said.extend([event.delta] if event.type == "response.output_text.delta" else [])

    with pytest.raises(APIConnectionError):
        asyncio.run(call())

    assert ["One", " two"] == said


def test_plain_answer_waits_for_all_of_its_latency(llm: FakeLLM, connect: Any) -> None:
    latency = Latency(first_token_s=0.05, per_token_s=0.005)
    llm.set("m", script([Text("one two", latency=latency)]))

    [(took_s, _)] = ask(connect, "responses", False)

    assert 0.2 <= took_s


def test_stream_starts_at_once_and_paces_its_tokens(llm: FakeLLM, connect: Any) -> None:
    latency = Latency(first_token_s=0.1, total_s=0.3)
    llm.set("m", script([Text("one two three four", latency=latency)]))

    events = ask(connect, "responses", True)

    created_s = events[0][0]
    deltas_s = [at_s for at_s, event in events if event.type == "response.output_text.delta"]
    assert created_s < deltas_s[0]
    due_s = [0.1, 0.15, 0.2, 0.25]
    assert [] == [(due, at) for due, at in zip(due_s, deltas_s, strict=True) if at < due]
    assert 0.3 <= events[-1][0]


def test_failures_take_their_time_too(llm: FakeLLM, connect: Any) -> None:
    slow = Latency(total_s=0.2)
    llm.set("m", script([StreamFailure(latency=slow)]))

    *_, (took_s, final) = ask(connect, "responses", True)

    assert "response.failed" == final.type
    assert 0.2 <= took_s


def test_client_that_leaves_frees_the_server(llm: FakeLLM, connect: Any) -> None:
    slow = Text("too late", latency=Latency(total_s=60.0))
    llm.set("m", script([slow]))

    with pytest.raises(APITimeoutError):
        ask(connect, "chat", False, timeout=0.1)

    llm.set("m", script([Failure(500)]))
    started = time.monotonic()
    llm.stop()
    assert time.monotonic() - started < 10
