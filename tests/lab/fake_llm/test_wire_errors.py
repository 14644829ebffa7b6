import asyncio
from typing import Any

import openai
import pytest

from tocsin.lab.fake_llm import Failure, FakeLLM, answer, fail_first, script

FAILURES = [
    (Failure(400), openai.BadRequestError, None),
    (Failure(400, "context_length_exceeded"), openai.BadRequestError, "context_length_exceeded"),
    (Failure(400, "content_filter"), openai.BadRequestError, "content_filter"),
    (Failure(401), openai.AuthenticationError, "invalid_api_key"),
    (Failure(403), openai.PermissionDeniedError, None),
    (Failure(404), openai.NotFoundError, "model_not_found"),
    (Failure(409), openai.ConflictError, None),
    (Failure(429), openai.RateLimitError, "rate_limit_exceeded"),
    (Failure(429, "insufficient_quota"), openai.RateLimitError, "insufficient_quota"),
    (Failure(500), openai.InternalServerError, None),
    (Failure(502), openai.InternalServerError, None),
    (Failure(503), openai.InternalServerError, None),
]


def ask(connect: Any, api: str, *, stream: bool = False, max_retries: int = 0) -> object:
    async def call() -> object:
        async with connect(max_retries=max_retries) as client:
            if api == "responses":
                return await client.responses.create(model="m", input="hi", stream=stream)
            user = [{"role": "user", "content": "hi"}]
            return await client.chat.completions.create(model="m", messages=user, stream=stream)

    return asyncio.run(call())


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("failure", "expected", "code"), FAILURES)
def test_failure_raises_the_clients_own_class(
    llm: FakeLLM, connect: Any, api: str, stream: bool, failure: Failure, expected: Any, code: Any
) -> None:
    llm.set("m", script([failure]))

    with pytest.raises(expected) as caught:
        ask(connect, api, stream=stream)

    assert (failure.status, code) == (caught.value.status_code, caught.value.code)


def test_message_can_be_given(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Failure(500, message="on fire")]))

    with pytest.raises(openai.InternalServerError, match="on fire"):
        ask(connect, "responses")


def test_client_retries_when_told_to(llm: FakeLLM, connect: Any) -> None:
    failing = Failure(429, retry_after_s=0.05)
    llm.set("m", fail_first(1, failing, answer("ok")))

    ask(connect, "responses", max_retries=1)

    assert {("m", 429): 1, ("m", 200): 1} == llm.counts


def test_retry_after_rounds_whole_seconds_up(llm: FakeLLM, connect: Any) -> None:
    llm.set("m", script([Failure(429, retry_after_s=1.2)]))

    with pytest.raises(openai.RateLimitError) as caught:
        ask(connect, "responses")

    headers = caught.value.response.headers
    assert ("2", "1200") == (headers["retry-after"], headers["retry-after-ms"])
