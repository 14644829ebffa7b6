"""OpenTelemetry's GenAI conventions."""

from decimal import Decimal

import pytest

from tests.fakes.otlp import MS, decode_one
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Usage

CHAT = {"gen_ai.operation.name": "chat"}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("chat", Kind.LLM),
        ("Chat", Kind.LLM),
        ("generate_content", Kind.LLM),
        ("acompletion", Kind.LLM),
        ("embeddings", Kind.EMBEDDING),
        ("search_memory", Kind.RETRIEVAL),
        ("execute_tool", Kind.TOOL),
        ("invoke_agent", Kind.AGENT),
        ("invoke_workflow", Kind.RUN),
        ("handle_conversation_turn", Kind.RUN),
        ("plan", Kind.STEP),
        ("apply_guardrail", Kind.GUARDRAIL),
        ("create_agent", Kind.OTHER),
        ("fetch_response", Kind.OTHER),
        ("something_new", Kind.OTHER),
    ],
)
def test_kind_by_operation(operation: str, kind: Kind) -> None:
    assert kind == decode_one(attributes={"gen_ai.operation.name": operation}).kind


def test_a_tool_by_its_name_alone() -> None:
    span = decode_one("anything", {"gen_ai.tool.name": "search"})
    assert (Kind.TOOL, "search") == (span.kind, span.name)


def test_a_whole_call() -> None:
    span = decode_one(
        "chat gpt-4o",
        {
            **CHAT,
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.finish_reasons": ["stop", "length"],
            "gen_ai.response.time_to_first_chunk": 0.25,
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 30,
            "gen_ai.usage.cache_read.input_tokens": 1000,
            "gen_ai.usage.cache_creation.input_tokens": 20,
            "gen_ai.usage.reasoning.output_tokens": 10,
            "gen_ai.conversation.id": "conv_1",
            "gen_ai.workflow.name": "Support flow",
            "gen_ai.agent.name": "triage",
            "openai.response.service_tier": "flex",
            "server.address": "api.openai.com",
            "server.port": 443,
            "gen_ai.request.stream": True,
            "gen_ai.input.messages": "[private]",
        },
    )
    assert (Kind.LLM, "chat gpt-4o", 1, None) == (span.kind, span.name, span.calls, span.error)
    assert ("gpt-4o", "gpt-4o-2024-08-06", "openai") == (
        *(span.model, span.response_model),
        span.provider,
    )
    assert Usage(1200, 30, 1000, 20, 10) == span.usage
    assert ("chatcmpl-1", "stop", 0.25) == (
        *(span.response_id, span.finish_reason),
        span.first_token_s,
    )
    assert ("Support flow", "conv_1", "triage") == (
        *(span.workflow, span.conversation_id),
        span.agent,
    )
    assert ("flex", "https://api.openai.com") == (span.service_tier, span.endpoint)
    assert ("a.scope", {"gen_ai.request.stream": "True"}) == (span.scope, span.attributes)


@pytest.mark.parametrize(
    ("tokens", "usage"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2)),
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        ({"input_tokens": 9}, Usage(9, 0)),
        ({"input_tokens": 9.0, "output_tokens": 1.0}, Usage(9, 1)),
        ({"input_tokens": 0, "output_tokens": 0}, None),
        ({"input_tokens": -4, "output_tokens": 2**50}, None),
        ({"input_tokens": "many", "output_tokens": True}, None),
        ({}, None),
    ],
)
def test_tokens(tokens: dict[str, object], usage: Usage | None) -> None:
    attributes = {f"gen_ai.usage.{name}": value for name, value in tokens.items()}
    assert usage == decode_one(attributes={**CHAT, **attributes}).usage


def test_cache_outside_of_the_input_is_added() -> None:
    usage = {
        "gen_ai.usage.input_tokens": 36,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read_input_tokens": 64,
        "gen_ai.usage.cache_creation_input_tokens": 20,
    }
    assert Usage(120, 30, 64, 20) == decode_one(attributes={**CHAT, **usage}).usage


@pytest.mark.parametrize(
    ("given", "provider"),
    [
        ({"gen_ai.provider.name": "OpenAI"}, "openai"),
        ({"gen_ai.system": "openai.chat"}, "openai"),
        ({"gen_ai.system": "azure.ai.openai"}, "azure.ai.openai"),
        ({"gen_ai.provider.name": "langgraph", "gen_ai.system": "mistral"}, "mistral"),
        ({"gen_ai.provider.name": "strands-agents"}, None),
        ({}, None),
    ],
)
def test_provider(given: dict[str, object], provider: str | None) -> None:
    assert provider == decode_one(attributes={**CHAT, **given}).provider


@pytest.mark.parametrize(
    ("model", "provider", "expected"),
    [
        ("openai/gpt-4o", "openai", ("gpt-4o", "openai")),
        ("gemini/gemini-2.5-pro", None, ("gemini-2.5-pro", "gemini")),
        ("openai/gpt-4o", "openrouter", ("openai/gpt-4o", "openrouter")),
        ("ft/mine", None, ("ft/mine", None)),
    ],
)
def test_a_route_before_the_model_is_cut(
    model: str, provider: str | None, expected: tuple[str, str | None]
) -> None:
    given = {"gen_ai.provider.name": provider} if provider else {}
    span = decode_one(attributes={**CHAT, "gen_ai.request.model": model, **given})
    assert expected == (span.model, span.provider)


def test_an_answered_call_without_a_requested_model_goes_by_the_answer() -> None:
    assert "m-1" == decode_one(attributes={**CHAT, "gen_ai.response.model": "m-1"}).model


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["tool_calls"], "tool_calls"),
        ('["stop"]', "stop"),
        ("FinishReason.STOP,FinishReason.LENGTH", "stop"),
        ([], None),
        (5, None),
    ],
)
def test_finish_reasons_come_in_many_forms(reasons: object, expected: str | None) -> None:
    span = decode_one(attributes={**CHAT, "gen_ai.response.finish_reasons": reasons})
    assert expected == span.finish_reason


@pytest.mark.parametrize(
    ("given", "message", "error"),
    [
        ({"http.response.status_code": 429}, "", ErrorClass.RATE_LIMIT),
        ({"http.response.status_code": 200, "error.type": "timeout"}, "", ErrorClass.TIMEOUT),
        ({"error.code": "503"}, "", ErrorClass.SERVER_ERROR),
        ({"error.type": "_OTHER"}, "Error code: 401 - no", ErrorClass.AUTH),
        ({"error.type": "openai.BadRequestError"}, "maximum context", ErrorClass.CONTEXT_LENGTH),
        ({"error.type": "500"}, "", ErrorClass.SERVER_ERROR),
        ({}, "odd\nError code: 429", ErrorClass.OTHER),
        ({}, "", ErrorClass.OTHER),
    ],
)
def test_error_class(given: dict[str, object], message: str, error: ErrorClass) -> None:
    assert error == decode_one(attributes={**CHAT, **given}, error=message).error


def test_an_error_type_alone_is_a_failure_unless_the_status_is_ok() -> None:
    attributes = {**CHAT, "error.type": "timeout"}
    assert ErrorClass.TIMEOUT == decode_one(attributes=attributes).error
    assert None is decode_one(attributes=attributes, status={"code": 1}).error


def test_the_first_exception_event_counts() -> None:
    events = [
        ("exception", 5, {"exception.type": "openai.RateLimitError"}),
        ("exception", 6, {"exception.type": "openai.AuthenticationError"}),
    ]
    span = decode_one(attributes=CHAT, events=events, error="Exception")
    assert ErrorClass.RATE_LIMIT == span.error


def test_a_cancelled_call_says_so() -> None:
    attributes = {**CHAT, "error.type": "CancelledError"}
    span = decode_one(attributes=attributes, error="")
    assert (ErrorClass.CANCELLED, Outcome.CANCELLED) == (span.error, span.outcome)


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("Max turns exceeded: {'max_turns': 3}", Outcome.MAX_TURNS),
        ("Agent stopped: reached the maximum number of iterations", Outcome.MAX_TURNS),
        ("Guardrail tripwire triggered", Outcome.GUARDRAIL),
        ("CancelledError", Outcome.CANCELLED),
        ("max_tokens must be below 4096", Outcome.ERROR),
        ("", Outcome.ERROR),
    ],
)
def test_what_an_agents_failure_says_of_its_run(message: str, outcome: Outcome) -> None:
    span = decode_one(attributes={"gen_ai.operation.name": "invoke_agent"}, error=message)
    assert outcome == span.outcome


def test_an_agents_usage_covers_calls_but_is_none() -> None:
    span = decode_one(
        "invoke_agent helper",
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 240},
    )
    assert ("helper", Usage(240, 0), 0) == (span.name, span.usage, span.calls)


@pytest.mark.parametrize(
    ("tool", "arguments", "to_agent"),
    [
        ("transfer_to_billing_agent", "{}", "billing_agent"),
        ("handoff to billing", "{}", "billing"),
        ("transfer_to_agent", '{"agent_name": "billing", "why": "x"}', "billing"),
        ("handoff_to_agent", "not JSON", None),
    ],
)
def test_tools_that_hand_over(tool: str, arguments: str, to_agent: str | None) -> None:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.call.arguments": arguments,
        "gen_ai.agent.name": "triage",
    }
    span = decode_one(attributes=attributes)
    assert (Kind.HANDOFF, "triage", to_agent) == (span.kind, span.from_agent, span.to_agent)


def test_tool_arguments_are_hashed() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    first, again, other = (
        decode_one(attributes={**tool, "gen_ai.tool.call.arguments": text})
        for text in ("secret", "secret", "else")
    )
    assert first.arguments == again.arguments != other.arguments
    assert "secret" not in repr(first)


def test_evaluations_are_kept() -> None:
    evaluation = {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 0.5}
    span = decode_one(attributes=CHAT, events=[("gen_ai.evaluation.result", MS, evaluation)])
    assert "0.5" == span.attributes["evaluation.Relevance"]


def test_reported_cost_is_a_decimal() -> None:
    span = decode_one(attributes={**CHAT, "gen_ai.cost.total_cost": 3.12e-05})
    assert Decimal("0.0000312") == span.reported_cost_usd
