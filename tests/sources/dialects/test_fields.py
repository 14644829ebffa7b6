"""Fields of a span: every family's names, in order of preference."""

from typing import Any

import pytest

from tests.fakes.raw import MS, T0, raw
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Span, Usage
from tocsin.sources.dialects.read import read_span
from tocsin.sources.otlp_wire import RawEvent

CHAT: dict[str, Any] = {"gen_ai__operation__name": "chat"}


def llm(name: str = "x", **attributes: Any) -> Span:
    return read_span(raw(name, **(CHAT | attributes)))


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai__usage__input_tokens": 120, "gen_ai__usage__output_tokens": 30},
        {"gen_ai__usage__prompt_tokens": 120, "gen_ai__usage__completion_tokens": 30},
        {"llm__token_count__prompt": 120, "llm__token_count__completion": 30},
        {"ai__usage__inputTokens": 120, "ai__usage__outputTokens": 30},
        {"llm__usage__prompt_tokens": 120, "llm__usage__completion_tokens": 30},
        {"gen_ai__usage__input_tokens": "120", "gen_ai__usage__output_tokens": 30.0},
    ],
)
def test_tokens_by_every_name(attributes: dict[str, Any]) -> None:
    assert Usage(120, 30) == llm(**attributes).usage


@pytest.mark.parametrize(
    ("expected", "attributes"),
    [
        (Usage(120, 30, 64, 20, 10), {"cached": 64, "written": 20, "input": 120}),
        # Anthropic's own counts leave the cache out of the input.
        (Usage(120, 30, 64, 20, 10), {"cached": 64, "written": 20, "input": 36}),
    ],
)
def test_cache_is_part_of_the_input(expected: Usage, attributes: dict[str, int]) -> None:
    found = llm(
        gen_ai__usage__input_tokens=attributes["input"],
        gen_ai__usage__output_tokens=30,
        gen_ai__usage__cache_read__input_tokens=attributes["cached"],
        gen_ai__usage__cache_creation__input_tokens=attributes["written"],
        gen_ai__usage__reasoning_tokens=10,
    )
    assert expected == found.usage


@pytest.mark.parametrize(
    "value", [None, "", "many", -1, True, 1.5, (1,), {"a": 1}, 1 << 60, float("nan")]
)
def test_counts_that_are_none(value: Any) -> None:
    assert llm(gen_ai__usage__input_tokens=value).usage is None


@pytest.mark.parametrize(
    ("expected", "attributes"),
    [
        ("openai", {"gen_ai__provider__name": "openai"}),
        ("openai", {"gen_ai__system": "OpenAI"}),
        ("openai", {"gen_ai__system": "openai.chat"}),
        ("openai", {"gen_ai__provider__name": "langgraph", "llm__provider": "openai"}),
        ("anthropic", {"llm__system": "anthropic"}),
        (None, {"gen_ai__provider__name": "strands-agents"}),
        (None, {}),
    ],
)
def test_provider(expected: str | None, attributes: dict[str, str]) -> None:
    assert expected == llm(**attributes).provider


@pytest.mark.parametrize(
    ("expected", "attributes"),
    [
        (0.25, {"gen_ai__response__time_to_first_chunk": 0.25}),
        (0.25, {"gen_ai__server__time_to_first_token": 250}),
        (0.25, {"ai__response__msToFirstChunk": 250.0}),
        (None, {"gen_ai__response__time_to_first_chunk": -1}),
        (None, {}),
    ],
)
def test_first_token(expected: float | None, attributes: dict[str, Any]) -> None:
    assert expected == llm(**attributes).first_token_s


def test_first_token_from_an_event() -> None:
    event = RawEvent("First Token Stream Event", T0 + 40 * MS, {})
    assert 0.04 == read_span(raw(events=(event,), **CHAT)).first_token_s


@pytest.mark.parametrize(
    ("expected", "error", "attributes", "exception"),
    [
        (None, None, {}, {}),
        (ErrorClass.RATE_LIMIT, "Error code: 429 - slow down", {}, {}),
        (ErrorClass.RATE_LIMIT, "", {"error__code": "429"}, {}),
        (ErrorClass.SERVER_ERROR, "", {"http__response__status_code": 503}, {}),
        (ErrorClass.TIMEOUT, None, {"error__type": "APITimeoutError"}, {}),
        (ErrorClass.AUTH, "", {}, {"exception__type": "openai.AuthenticationError"}),
        (ErrorClass.OTHER, "it broke", {"error__type": "_OTHER"}, {}),
        # A traceback behind the first line says nothing about this failure.
        (ErrorClass.OTHER, "ValueError('no')\nconnection.py line 3: rate limit 429", {}, {}),
    ],
)
def test_error_class(
    expected: ErrorClass | None,
    error: str | None,
    attributes: dict[str, Any],
    exception: dict[str, str],
) -> None:
    events = [
        RawEvent("exception", T0, {key.replace("__", "."): value})
        for key, value in exception.items()
    ]
    found = read_span(raw(error=error, events=tuple(events), **(CHAT | attributes)))
    assert expected == found.error


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (Outcome.MAX_TURNS, "Max turns exceeded: {'max_turns': 3}"),
        (Outcome.MAX_TURNS, "GraphRecursionError: Recursion limit of 25 reached"),
        (Outcome.MAX_TURNS, "UsageLimitExceeded: request_limit of 3"),
        (Outcome.MAX_TURNS, "LlmCallsLimitExceededError: Max number of llm calls limit of 3"),
        (Outcome.GUARDRAIL, "Guardrail tripwire triggered: {'guardrail': 'x'}"),
        (Outcome.CANCELLED, "CancelledError"),
        (Outcome.ERROR, "ValueError: no"),
    ],
)
def test_what_a_failed_agent_says_of_its_run(expected: Outcome, error: str) -> None:
    span = read_span(raw(error=error, gen_ai__operation__name="invoke_agent"))
    assert expected == span.outcome


@pytest.mark.parametrize(
    ("expected", "value"),
    [("stop", ("stop",)), ("stop", '["stop"]'), ("length", "length"), (None, "["), (None, ())],
)
def test_finish_reason(expected: str | None, value: Any) -> None:
    assert expected == llm(gen_ai__response__finish_reasons=value).finish_reason


@pytest.mark.parametrize(
    ("expected", "attributes"),
    [
        (("gpt-4o", "gpt-4o-2024-08-06"), {"request": "gpt-4o", "response": "gpt-4o-2024-08-06"}),
        (("gpt-4o", None), {"request": "gpt-4o"}),
        (("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"), {"response": "gpt-4o-2024-08-06"}),
        ((None, None), {}),
    ],
)
def test_model_is_as_requested_so_that_failures_share_its_label(
    expected: tuple[str | None, str | None], attributes: dict[str, str]
) -> None:
    span = llm(**{f"gen_ai__{which}__model": name for which, name in attributes.items()})
    assert expected == (span.model, span.response_model)


def test_names_with_user_text_are_one_line_and_bounded() -> None:
    span = read_span(raw("a\nb" + "x" * 10_000, gen_ai__operation__name="invoke_agent"))
    assert "a b" == span.name[:3]
    assert 128 == len(span.name)


def test_content_is_not_kept() -> None:
    secret = "the patient's name is"
    span = llm(gen_ai__prompt=secret, input__value=secret, gen_ai__input__messages=secret)
    assert secret not in repr(span)
