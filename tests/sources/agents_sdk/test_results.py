from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes.spans import sdk_span
from tocsin.model.span import Result, Usage
from tocsin.sources.agents_sdk.results import (
    HASHED_AT_ENDS,
    MAX_ENTRIES,
    ending,
    tool_result,
)


class Quote(BaseModel):
    price: float


@dataclass
class Row:
    price: float


def result_of(output: Any, arguments: Any = "{}", **times: Any) -> Result | None:
    return tool_result(sdk_span("function", output=output, input=arguments).span_data, times)


def hash_of(output: Any) -> int | None:
    found = result_of(output)
    return None if found is None else found.output


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"price": 1.5}, '{"price":1.5}'),
        (Quote(price=1.5), '{"price":1.5}'),
        (Row(price=1.5), '{"price":1.5}'),
        ([Quote(price=1.5)], '[{"price":1.5}]'),
        ({"type": "text", "text": "1.5"}, "1.5"),
        (True, "true"),
    ],
)
def test_outputs_are_compared_as_text(output: Any, text: str) -> None:
    assert hash_of(text) == hash_of(output)
    assert hash_of("other") != hash_of(output)


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("output", [None, Broken(), [Broken()], list(range(MAX_ENTRIES + 1))])
def test_output_that_cannot_be_read_is_unknown(output: Any) -> None:
    assert result_of(output) is None


def test_long_outputs_differ_by_their_ends_and_length() -> None:
    middle = "x" * HASHED_AT_ENDS
    long = [f"a{middle}{middle}b", f"b{middle}{middle}b", f"a{middle}{middle}a", "a" + middle * 3]
    assert 4 == len({hash_of(each) for each in long})


def test_arguments_that_were_not_recorded_are_unknown() -> None:
    found = result_of("ok", arguments=None)
    assert found is not None
    assert found.arguments is None


def test_time_is_read_by_the_tools_reader_alone() -> None:
    times = {"lookup": lambda output: len(output)}
    assert Result(hash("four"), 4, hash("{}"), 4) == result_of("four", **times)
    assert Result(hash("four"), 4, hash("{}"), None) == result_of("four", other=len)


def response(*items: Any) -> Any:
    return SimpleNamespace(response=SimpleNamespace(output=list(items)))


def message(*texts: str) -> Any:
    parts = [SimpleNamespace(type="output_text", text=text) for text in texts]
    return SimpleNamespace(type="message", content=parts)


REFUSAL = SimpleNamespace(
    type="message", content=[SimpleNamespace(type="refusal", refusal="I will not.")]
)
REASONING = SimpleNamespace(type="reasoning", content=[SimpleNamespace(text="hm")])
CALL = SimpleNamespace(type="function_call", name="lookup")
SAID = {"content": "hello", "refusal": None, "role": "assistant"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (response(), True),
        (response(message("")), True),
        (response(REASONING), True),
        (response(message("hello")), False),
        (response(message("", "hello")), False),
        (response(REFUSAL), False),
        (response(REASONING, CALL), False),
        (SimpleNamespace(response=None), False),
        (SimpleNamespace(output=None), False),
        (SimpleNamespace(output=[]), True),
        (SimpleNamespace(output=[{"content": "", "role": "assistant"}]), True),
        (SimpleNamespace(output=[SAID]), False),
        (SimpleNamespace(output=[{"content": None, "tool_calls": [{"id": "1"}]}]), False),
        (SimpleNamespace(output=[{"object": "response", "output": []}]), True),
        (SimpleNamespace(output=[{"output": [{"type": "function_call"}]}]), False),
    ],
)
def test_empty_is_what_says_nothing(data: Any, expected: bool) -> None:
    assert expected == ending(data, None, None)[1]


def error(text: str) -> dict[str, Any]:
    return {"message": "Error getting response", "data": {"error": text}}


ENDED = "Responses stream ended with terminal event `response.incomplete`. incomplete_details="


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"{ENDED}IncompleteDetails(reason='max_output_tokens').", "length"),
        (f"{ENDED}IncompleteDetails(reason='content_filter').", "content_filter"),
        ("Chat Completions response terminated with finish_reason='length' but", "length"),
        ("Error code: 429", None),
    ],
)
def test_errors_tell_why_an_answer_ended(said: str, expected: str | None) -> None:
    assert expected == ending(SimpleNamespace(), error(said), None)[0]


def test_content_filters_refusal_is_told_from_the_models_own() -> None:
    withheld = "Response withheld by the provider's content filter."
    chat = SimpleNamespace(output=[{"content": "", "refusal": withheld}])
    assert "content_filter" == ending(chat, None, None)[0]
    assert ending(response(REFUSAL), None, None)[0] is None


@pytest.mark.parametrize(
    ("allowed", "expected"), [(30, "length"), (31, None), (None, None), (0, None), ("30", None)]
)
def test_answer_that_used_all_it_may_was_cut_off(allowed: Any, expected: str | None) -> None:
    data = SimpleNamespace(output=[SAID], model_config={"max_tokens": allowed})
    assert expected == ending(data, None, Usage(10, 30))[0]
