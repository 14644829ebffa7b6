import asyncio
import time
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.span import ErrorClass
from tocsin.sources.error_class import (
    classify_exception,
    classify_name,
    classify_status,
    classify_text,
)

E = ErrorClass

TEXTS = [
    # what the OpenAI client says, and what the SDK puts around it
    ("Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o', 'type': "
     "'tokens', 'code': 'rate_limit_exceeded'}}", E.RATE_LIMIT),
    ("Error code: 429 - {'error': {'message': 'You exceeded your current quota', 'type': "
     "'insufficient_quota', 'code': 'insufficient_quota'}}", E.RATE_LIMIT),
    ("Error code: 400 - {'error': {'message': \"This model's maximum context length is 128000 "
     "tokens.\", 'code': 'context_length_exceeded'}}", E.CONTEXT_LENGTH),
    ("Error code: 400 - {'error': {'message': 'Your input exceeds the context window of this "
     "model.', 'type': 'invalid_request_error'}}", E.CONTEXT_LENGTH),
    ("Error code: 400 - {'error': {'code': 'content_filter', 'message': \"The response was "
     "filtered due to the prompt triggering Azure OpenAI's content management policy\"}}",
     E.CONTENT_FILTER),
    ("Error code: 400 - {'error': {'message': 'Invalid type for connection', 'type': "
     "'invalid_request_error'}}", E.BAD_REQUEST),
    ("Error code: 401 - {'error': {'message': 'Incorrect API key provided: sk-1234'}}", E.AUTH),
    ("Error code: 403 - {'error': {'message': 'Country not supported'}}", E.AUTH),
    ("Error code: 404 - {'error': {'message': 'The model `gpt-9` does not exist', 'code': "
     "'model_not_found'}}", E.BAD_REQUEST),
    ("Error code: 408 - Request Timeout", E.TIMEOUT),
    ("Error code: 422 - {'detail': 'timeout must be a number'}", E.BAD_REQUEST),
    ("Error code: 500 - {'error': {'message': 'The server had an error while processing'}}",
     E.SERVER_ERROR),
    ("Error code: 502", E.SERVER_ERROR),
    ("Error code: 503 - {'error': {'message': 'Service Unavailable: rate limit'}}", E.SERVER_ERROR),
    ("Error code: 504 - upstream request timeout", E.TIMEOUT),
    ("Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error'}}", E.RATE_LIMIT),
    ("Request timed out.", E.TIMEOUT),
    ("Request timed out or interrupted. This could be due to a network timeout, dropped "
     "connection, or request cancellation.", E.TIMEOUT),
    ("Connection error.", E.CONNECTION),
    ("[Errno 111] Connect call failed ('127.0.0.1', 9)", E.CONNECTION),
    ("peer closed connection without sending complete message body", E.CONNECTION),
    ("Server disconnected without sending a response.", E.CONNECTION),
    ("The server had an error: internal error", E.SERVER_ERROR),
    ("litellm.RateLimitError: AnthropicException - Overloaded", E.RATE_LIMIT),
    ("HTTP 503: try again", E.SERVER_ERROR),
    ("HTTP error 429", E.RATE_LIMIT),
    ("status code 401", E.AUTH),
    ("status_code: 429, model_name: m, body: {}", E.RATE_LIMIT),
    ("200 tools, status 200: who knows", E.OTHER),
    ("Error code: 400 - prompt is too long: 213462 tokens > 200000 maximum", E.CONTEXT_LENGTH),
    ("Something else", E.OTHER),
    ("", E.OTHER),
    ("Error code: 200", E.OTHER),
    ("took 4290 ms, status 99999", E.OTHER),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_text(text: str, expected: ErrorClass) -> None:
    assert expected is classify_text(text)


FIRST_LINES = [
    ("\n\n  Connection error.\nTraceback: rate limit", E.CONNECTION),
    ("ValueError: no\nError code: 429", E.OTHER),
    ("x" * 2000 + " Error code: 429", E.OTHER),
]


@pytest.mark.parametrize(("text", "expected"), FIRST_LINES)
def test_only_the_start_of_the_first_line_counts(text: str, expected: ErrorClass) -> None:
    assert expected is classify_text(text)


STATUSES = [
    (400, "", E.BAD_REQUEST),
    (400, "maximum context length", E.CONTEXT_LENGTH),
    (400, "content_policy_violation", E.CONTENT_FILTER),
    (401, "", E.AUTH),
    (403, "", E.AUTH),
    (404, "", E.BAD_REQUEST),
    (408, "", E.TIMEOUT),
    (409, "", E.BAD_REQUEST),
    (413, "maximum context length", E.CONTEXT_LENGTH),
    (429, "", E.RATE_LIMIT),
    (500, "", E.SERVER_ERROR),
    (500, "maximum context length", E.SERVER_ERROR),
    (503, "", E.SERVER_ERROR),
    (504, "", E.TIMEOUT),
    (529, "", E.RATE_LIMIT),
    (599, "", E.SERVER_ERROR),
]


@pytest.mark.parametrize(("status", "text", "expected"), STATUSES)
def test_status(status: int, text: str, expected: ErrorClass) -> None:
    assert expected is classify_status(status, text)


REQUEST: Any = httpx.Request("POST", "https://api.openai.com/v1/responses")


def answered(kind: type[openai.APIStatusError], status: int, text: str = "no") -> Exception:
    response: Any = httpx.Response(status, request=REQUEST)
    return kind(text, response=response, body=None)


class WithStatusError(Exception):
    def __init__(self, status_code: object, text: str = "") -> None:
        super().__init__(text)
        self.status_code = status_code


class OwnRateLimit(openai.RateLimitError):
    def __init__(self) -> None:
        Exception.__init__(self, "")


EXCEPTIONS: list[tuple[BaseException, ErrorClass]] = [
    (answered(openai.BadRequestError, 400), E.BAD_REQUEST),
    (answered(openai.BadRequestError, 400, "context_length_exceeded"), E.CONTEXT_LENGTH),
    (answered(openai.AuthenticationError, 401), E.AUTH),
    (answered(openai.PermissionDeniedError, 403), E.AUTH),
    (answered(openai.NotFoundError, 404), E.BAD_REQUEST),
    (answered(openai.ConflictError, 409), E.BAD_REQUEST),
    (answered(openai.UnprocessableEntityError, 422), E.BAD_REQUEST),
    (answered(openai.RateLimitError, 429), E.RATE_LIMIT),
    (answered(openai.InternalServerError, 500), E.SERVER_ERROR),
    (answered(openai.InternalServerError, 504), E.TIMEOUT),
    (openai.APITimeoutError(REQUEST), E.TIMEOUT),
    (openai.APIConnectionError(request=REQUEST), E.CONNECTION),
    (OwnRateLimit(), E.RATE_LIMIT),
    (httpx.ConnectError(""), E.CONNECTION),
    (httpx.ConnectTimeout(""), E.TIMEOUT),
    (httpx.ReadTimeout(""), E.TIMEOUT),
    (httpx.ReadError(""), E.CONNECTION),
    (httpx.WriteError(""), E.CONNECTION),
    (httpx.RemoteProtocolError(""), E.CONNECTION),
    (ConnectionResetError(), E.CONNECTION),
    (TimeoutError(), E.TIMEOUT),
    (asyncio.CancelledError(), E.CANCELLED),
    (KeyboardInterrupt(), E.CANCELLED),
    (GeneratorExit(), E.CANCELLED),
    (SystemExit(), E.CANCELLED),
    (WithStatusError(429), E.RATE_LIMIT),
    (WithStatusError(200, "Connection error."), E.CONNECTION),
    (WithStatusError(True, "Connection error."), E.CONNECTION),
    (WithStatusError("429"), E.OTHER),
    (WithStatusError(None, "Error code: 500"), E.SERVER_ERROR),
    (ValueError("who knows"), E.OTHER),
]


@pytest.mark.parametrize(
    ("error", "expected"),
    [pytest.param(*row, id=f"{n}-{type(row[0]).__name__}") for n, row in enumerate(EXCEPTIONS)],
)
def test_exception(error: BaseException, expected: ErrorClass) -> None:
    assert expected is classify_exception(error)


@pytest.mark.parametrize("text", ["x" * 10_000_000, " " * 10_000_000, "Error code: " * 1_000_000])
def test_10_mb_of_text_are_fast(text: str) -> None:
    started_s = time.perf_counter()
    classify_text(text)
    classify_exception(ValueError(text))

    assert time.perf_counter() - started_s < 0.1


@given(st.text())
def test_any_text_has_a_class(text: str) -> None:
    assert classify_text(text) in ErrorClass


NAMES = [
    ("openai.RateLimitError", E.RATE_LIMIT),
    ("rate_limit_error", E.RATE_LIMIT),
    ("strands.types.exceptions.ModelThrottledException", E.RATE_LIMIT),
    ("overloaded_error", E.RATE_LIMIT),
    ("openai.APITimeoutError", E.TIMEOUT),
    ("timeout", E.TIMEOUT),
    ("httpx.ConnectError", E.CONNECTION),
    ("anthropic.AuthenticationError", E.AUTH),
    ("pydantic_ai.exceptions.ModelServerError", E.SERVER_ERROR),
    ("litellm.exceptions.ServiceUnavailableError", E.SERVER_ERROR),
    ("litellm.exceptions.ContextWindowExceededError", E.CONTEXT_LENGTH),
    ("content_filter", E.CONTENT_FILTER),
    ("openai.BadRequestError", E.BAD_REQUEST),
    ("asyncio.exceptions.CancelledError", E.CANCELLED),
    ("503", E.SERVER_ERROR),
    ("200", None),
    ("ValueError", None),
    ("agent_framework.exceptions.ChatClientException", None),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_name_of_an_error_type(name: str, expected: ErrorClass | None) -> None:
    assert expected == classify_name(name)


def test_a_bad_request_is_told_apart_by_its_text() -> None:
    text = "Error code: 400 - This model's maximum context length is 128000 tokens."
    assert E.CONTEXT_LENGTH == classify_name("openai.BadRequestError", text)
