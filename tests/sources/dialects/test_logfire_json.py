"""Logfire writes what is no plain value as JSON: None as `null`, usage as an object."""

import json
from typing import Any

import pytest

from tocsin.model.span import Span, Usage
from tocsin.runs.fold import fold
from tocsin.sources.dialects.read import read_span
from tocsin.sources.dialects.usage_json import usage_details
from tocsin.sources.otlp_wire import RawSpan

DETAILS = {"cached_tokens": 64, "cache_write_tokens": 20}
REPEATED = {
    "input_tokens_details": DETAILS,
    "output_tokens_details": {"reasoning_tokens": 10},
}


def read(span_id: str = "1", *, is_error: bool = False, **attributes: Any) -> Span:
    found = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", **attributes}
    return read_span(
        RawSpan(
            trace_id="t",
            span_id=span_id,
            parent_id="0",
            name="Responses API",
            started_ns=int(span_id),
            ended_ns=int(span_id) + 1,
            is_error=is_error,
            status_message="",
            scope="logfire.openai_agents",
            resource={},
            attributes=found,
            events=[],
        )
    )


def test_null_is_no_conversation() -> None:
    assert read(group_id="null").conversation_id is None
    assert "null point" == read(group_id="null point").conversation_id


def test_failed_calls_without_a_response_id_are_calls_of_their_own() -> None:
    top = read("0", **{"gen_ai.operation.name": "invoke_agent"})
    failed = [read(span_id, is_error=True, response_id="null") for span_id in "12"]

    (run,) = fold([top, *failed])

    assert 2 == run.run.llm_calls


@pytest.mark.parametrize("name", ["gen_ai.usage.raw", "usage"])
def test_details_come_from_usage_as_json(name: str) -> None:
    counts = {"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30}

    assert Usage(120, 30, 64, 20, 10) == read(**counts, **{name: json.dumps(REPEATED)}).usage


def test_an_attribute_outranks_usage_as_json() -> None:
    found = read(
        **{
            "gen_ai.usage.input_tokens": 120,
            "gen_ai.usage.output_tokens": 30,
            "gen_ai.usage.cache_read.input_tokens": 0,
            "gen_ai.usage.raw": json.dumps(REPEATED),
        }
    )

    assert Usage(120, 30, 0, 20, 10) == found.usage


@pytest.mark.parametrize("text", ["", "null", "[]", '{"input_tokens_details": 3}', '{"input_t'])
def test_what_is_no_usage_tells_nothing(text: str) -> None:
    assert {} == usage_details(text)


def test_reads_chat_completions_too() -> None:
    text = json.dumps({"prompt_tokens_details": DETAILS, "completion_tokens_details": None})

    assert {"cache_read": 64, "cache_write": 20, "reasoning": None} == usage_details(text)
