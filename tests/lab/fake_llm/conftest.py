from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import pytest
from openai import AsyncOpenAI

from tocsin.lab.fake_llm import FakeLLM, Request

Connect = Callable[..., AbstractAsyncContextManager[AsyncOpenAI]]


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    with FakeLLM() as server:
        yield server


@pytest.fixture
def connect(llm: FakeLLM) -> Connect:
    """A client of `llm` that refuses responses which do not fit openai's own types."""

    @asynccontextmanager
    async def connected(timeout: float = 5.0, max_retries: int = 0) -> AsyncIterator[AsyncOpenAI]:
        async with AsyncOpenAI(
            base_url=llm.base_url,
            api_key="x",
            max_retries=max_retries,
            timeout=timeout,
            _strict_response_validation=True,
        ) as client:
            yield client

    return connected


@pytest.fixture
def make_request() -> Callable[..., Request]:
    def make(**changes: object) -> Request:
        fields: dict[str, object] = {
            "api": "responses",
            "model": "m",
            "instructions": "",
            "items": (),
            "tools": (),
            "stream": False,
            "include_usage": False,
            "service_tier": None,
            "step": 0,
            "step_since_handoff": 0,
            "user": "",
            "tool_outputs": (),
            "key": "0" * 64,
            "attempt": 0,
            "rng": Random(0),
            "body": {},
        }
        return Request(**(fields | changes))  # type: ignore[arg-type]

    return make
