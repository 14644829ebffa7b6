from collections.abc import Mapping
from typing import Any

import pytest

from tocsin.lab.fake_llm import Request, ToolCall, ToolCalls, wire_chat, wire_responses
from tocsin.lab.fake_llm.conversation import Intake

USER = {"role": "user", "content": "hi"}


def responses_call(name: str, call_id: str = "call_1") -> dict[str, str]:
    return {"type": "function_call", "name": name, "arguments": "{}", "call_id": call_id}


def responses_output(text: str, call_id: str = "call_1") -> dict[str, str]:
    return {"type": "function_call_output", "output": text, "call_id": call_id}


def chat_calls(*names: str) -> dict[str, Any]:
    functions = [{"name": name, "arguments": "{}"} for name in names]
    calls = [{"id": "c", "type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def chat_output(text: str) -> dict[str, str]:
    return {"role": "tool", "tool_call_id": "c", "content": text}


def read_responses(given: object, intake: Intake | None = None, **body: object) -> Request:
    whole: Mapping[str, object] = {"model": "m", "input": given, **body}
    return (intake or Intake(0)).request("responses", whole, wire_responses.conversation(whole))


def read_chat(*messages: Mapping[str, object], **body: object) -> Request:
    whole: Mapping[str, object] = {"model": "m", "messages": messages and list(messages), **body}
    return Intake(0).request("chat", whole, wire_chat.conversation(whole))


RESPONSES_STEPS = [
    (0, [USER]),
    (1, [USER, responses_call("a"), responses_output("1")]),
    (1, [USER, responses_call("a"), responses_call("b"), *[responses_output("1")] * 2]),
    (2, [USER, *[responses_call("a"), responses_output("1")] * 2]),
    (0, [USER, responses_call("a"), responses_output("1"), USER]),
]
CHAT_STEPS = [
    (0, [USER]),
    (1, [USER, chat_calls("a"), chat_output("1")]),
    (1, [USER, chat_calls("a", "b"), chat_output("1"), chat_output("2")]),
    (2, [USER, *[chat_calls("a"), chat_output("1")] * 2]),
    (0, [USER, chat_calls("a"), chat_output("1"), USER]),
]


@pytest.mark.parametrize(("step", "items"), RESPONSES_STEPS)
def test_step_counts_rounds_of_responses_calls(step: int, items: list[Any]) -> None:
    assert step == read_responses(items).step


@pytest.mark.parametrize(("step", "messages"), CHAT_STEPS)
def test_step_counts_rounds_of_chat_calls(step: int, messages: list[Any]) -> None:
    assert step == read_chat(*messages).step


def test_step_since_handoff_starts_again() -> None:
    items = [
        USER,
        *[responses_call("a"), responses_output("1")],
        *[responses_call("transfer_to_b"), responses_output("b")],
        *[responses_call("c"), responses_output("2")],
    ]
    request = read_responses(items)

    assert (3, 1) == (request.step, request.step_since_handoff)


def test_a_plain_string_is_the_user_speaking() -> None:
    assert "hello" == read_responses("hello").user


def test_text_parts_are_joined() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image"}, {"text": "b"}]

    assert "ab" == read_responses([{"role": "user", "content": parts}]).user


def test_tool_outputs_are_those_since_the_user_spoke() -> None:
    old, new = [responses_call("a"), responses_output("old")], responses_output("new")

    assert ("new",) == read_responses([USER, *old, USER, responses_call("a"), new]).tool_outputs


def test_system_messages_join_the_instructions() -> None:
    system = {"role": "system", "content": "Be brief."}

    assert (
        "You are x.\nBe brief." == read_responses([system], instructions="You are x.").instructions
    )
    assert "Be brief." == read_chat(system, USER).instructions


def test_tools_are_named() -> None:
    function = {"type": "function", "name": "a", "parameters": {}}

    assert ("a", "web_search") == read_responses(
        "x", tools=[function, {"type": "web_search"}]
    ).tools
    assert ("a",) == read_chat(USER, tools=[{"type": "function", "function": function}]).tools


def test_service_tier_auto_is_none() -> None:
    assert None is read_responses("x", service_tier="auto").service_tier
    assert "flex" == read_responses("x", service_tier="flex").service_tier


def test_ids_do_not_make_a_new_content() -> None:
    intake = Intake(0)
    read_responses([USER, responses_call("a", "call_1"), responses_output("1", "call_1")], intake)
    again = [USER, responses_call("a", "call_2"), responses_output("1", "call_2")]

    assert 1 == read_responses(again, intake).attempt


def test_other_content_starts_at_attempt_zero() -> None:
    intake = Intake(0)
    read_responses("a", intake)

    assert 0 == read_responses("b", intake).attempt


def test_previous_response_stands_for_its_conversation() -> None:
    intake = Intake(0)
    first = read_responses("hi", intake)
    intake.remember(first, ToolCalls((ToolCall("a"),)))

    second = read_responses([responses_output("1")], intake, previous_response_id=first.response_id)

    assert ("hi", 1, ("1",)) == (second.user, second.step, second.tool_outputs)


def test_memory_of_contents_is_bounded() -> None:
    intake = Intake(0, remembered=1)
    read_responses("a", intake)
    read_responses("b", intake)

    assert 0 == read_responses("a", intake).attempt


def test_seed_and_content_decide_the_chance() -> None:
    first, second, other = (read_responses("a", Intake(seed)) for seed in (1, 1, 2))

    assert first.rng.random() == second.rng.random() != other.rng.random()


def test_attempts_have_their_own_chance_and_key() -> None:
    intake = Intake(0)
    first, second = read_responses("a", intake), read_responses("a", intake)

    assert first.key != second.key
    assert first.rng.random() != second.rng.random()
