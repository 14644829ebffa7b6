"""Logfire writes what is no plain value as JSON: None as `null`, usage as an object."""

import json
from typing import Any

import pytest

from tests.fakes.raw import raw
from tocsin.model.span import Span, Usage
from tocsin.runs.fold import fold
from tocsin.sources.dialects.read import read_span
from tocsin.sources.dialects.usage_json import usage_details

DETAILS = {"cached_tokens": 64, "cache_write_tokens": 20}
COUNTS = {"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30}
REPEATED = {
    "input_tokens_details": DETAILS,
    "output_tokens_details": {"reasoning_tokens": 10},
}


def read(span_id: str = "1", operation: str = "chat", error: str | None = None, **at: Any) -> Span:
    at["gen_ai.operation.name"] = operation
    return read_span(raw(span_id=span_id, parent="0", scope="logfire", error=error, **at))


def test_null_is_no_conversation() -> None:
    assert read(group_id="null").conversation_id is None
    assert "null point" == read(group_id="null point").conversation_id


def test_failed_calls_without_a_response_id_are_calls_of_their_own() -> None:
    top = read("0", operation="invoke_agent")
    failed = [read(span_id, error="Error code: 429", response_id="null") for span_id in "12"]

    (run,) = fold([top, *failed])

    assert 2 == run.run.llm_calls


@pytest.mark.parametrize("name", ["gen_ai.usage.raw", "usage"])
def test_details_come_from_usage_as_json(name: str) -> None:
    found: dict[str, Any] = {**COUNTS, name: json.dumps(REPEATED)}

    assert Usage(120, 30, 64, 20, 10) == read(**found).usage


def test_an_attribute_outranks_usage_as_json() -> None:
    found: dict[str, Any] = {
        **COUNTS,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.raw": json.dumps(REPEATED),
    }

    assert Usage(120, 30, 0, 20, 10) == read(**found).usage


@pytest.mark.parametrize("text", ["", "null", "[]", '{"input_tokens_details": 3}', '{"input_t'])
def test_what_is_no_usage_tells_nothing(text: str) -> None:
    assert {} == usage_details(text)


def test_reads_chat_completions_too() -> None:
    text = json.dumps({"prompt_tokens_details": DETAILS, "completion_tokens_details": None})

    assert {"cache_read": 64, "cache_write": 20, "reasoning": None} == usage_details(text)
