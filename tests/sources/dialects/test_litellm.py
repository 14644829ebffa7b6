"""LiteLLM's OpenTelemetry callback."""

from tests.fakes.otlp import decode_one
from tocsin.model.span import ErrorClass, Kind


def test_the_request_is_the_call() -> None:
    assert Kind.LLM == decode_one("litellm_request", scope="litellm").kind
    assert Kind.OTHER == decode_one("raw_gen_ai_request", {"llm.openai.id": "x"}).kind


def test_an_error_by_its_code() -> None:
    attributes = {"gen_ai.operation.name": "acompletion", "error.code": "408"}
    assert ErrorClass.TIMEOUT == decode_one("litellm_request", attributes, error="").error
