"""Strands Agents."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.span import Kind

SCOPE = "strands.telemetry.tracer"


@pytest.mark.parametrize(
    ("name", "attributes", "kind"),
    [
        ("x", {"gen_ai.operation.name": "invoke_swarm"}, Kind.RUN),
        ("x", {"gen_ai.operation.name": "execute_event_loop_cycle"}, Kind.STEP),
        ("execute_event_loop_cycle", {}, Kind.STEP),
        ("Cycle 5", {}, Kind.STEP),
        ("Model invoke", {}, Kind.LLM),
        ("Tool: search", {}, Kind.TOOL),
    ],
)
def test_kinds(name: str, attributes: dict[str, object], kind: Kind) -> None:
    assert kind == decode_one(name, attributes, scope=SCOPE).kind


def test_time_to_first_token_is_in_milliseconds() -> None:
    chat = {"gen_ai.operation.name": "chat", "gen_ai.server.time_to_first_token": 150}
    assert 0.15 == decode_one("chat", chat, scope=SCOPE).first_token_s
    assert 150 == decode_one("chat", chat, scope="elsewhere").first_token_s


@pytest.mark.parametrize("attribute", ["gen_ai.tool.status", "tool.status"])
def test_a_failed_tool_may_have_an_ok_status(attribute: str) -> None:
    attributes = {"gen_ai.tool.name": "db", attribute: "error"}
    assert decode_one("Tool: db", attributes, status={"code": 1}).error is not None
    assert decode_one("Tool: db", {**attributes, attribute: "success"}).error is None
