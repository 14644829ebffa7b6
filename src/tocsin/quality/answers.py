"""Answers of a model that are none: empty, cut off, or withheld."""

from typing import Final

from tocsin.model.finding import Signal
from tocsin.model.label import UNKNOWN
from tocsin.model.span import Span

__all__ = ["judge_answer"]

TRUNCATED: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
FILTERED: Final = frozenset(
    {
        *("content_filter", "content-filter", "content_filtered", "safety", "refusal"),
        *("guardrail_intervened", "prohibited_content", "blocklist", "recitation"),
    }
)
"""Finish reasons of OpenAI, Anthropic, Gemini, Bedrock and the Vercel SDK, in lower case."""


def judge_answer(call: Span) -> tuple[Signal, str] | None:
    """Say what is wrong with a finished model call's answer; None where nothing is known to be.

    Failed calls count too: newer SDKs raise where an answer was cut off.
    """
    model, reason = call.model or UNKNOWN, (call.finish_reason or "").lower()
    if reason in TRUNCATED:
        return Signal.TRUNCATED_ANSWER, f"an answer of {model} was cut off ({reason})"
    if reason in FILTERED:
        return Signal.FILTERED_ANSWER, f"an answer of {model} was withheld ({reason})"
    no_tokens = call.usage is not None and call.usage.output_tokens == 0
    if call.error is None and call.calls and (call.is_empty or no_tokens):
        return Signal.EMPTY_ANSWER, f"an answer of {model} was empty"
    return None
