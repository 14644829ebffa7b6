"""What an LLM call will probably use, told before it is made.

Input: what the run's last call read, plus a token for every four characters that were added since.
Output: the call's own `max_tokens` where it is set, since then it cannot be more; else the
longest answer in the run so far; else, as a guess only, the longest that the model has lately
given in this process.
"""

import threading
from typing import Final

import msgspec

__all__ = ["Answers", "Expected", "Forecast", "text_size"]

CHARS_PER_TOKEN: Final = 4
FIRST_GUESS: Final = 256
"""Tokens of an answer by a model that has not answered yet."""
FADES: Final = 0.9
"""A long answer counts for less with every later one, so that one outlier is forgotten."""
MAX_MODELS: Final = 1_000
MAX_DEPTH: Final = 8
MAX_CHARS: Final = 1 << 40


class Expected(msgspec.Struct, frozen=True):
    """Tokens of a call to come. Output that is a guess must not stop a run."""

    input_tokens: int
    output_tokens: int
    is_guess: bool


class Answers:
    """How long each model's answers have been lately, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._longest: dict[str | None, float] = {}

    def longest(self, model: str | None) -> int:
        """Tokens of a long answer by this model."""
        return int(self._longest.get(model, FIRST_GUESS))

    def heard(self, model: str | None, output_tokens: int) -> None:
        """Note an answer."""
        with self._lock:
            if model not in self._longest and len(self._longest) >= MAX_MODELS:
                self._longest.clear()  # model names come from outside
            faded = self._longest.get(model, 0.0) * FADES
            self._longest[model] = max(float(output_tokens), faded)


class Forecast:
    """Foretells the calls of one run, of which there is one at a time."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._read_tokens = 0
        self._items = 0
        self._longest: int | None = None

    def input_tokens(self, instructions: object, items: object) -> int:
        """Tokens of a call's input; only what was added since the last call is measured."""
        parts = items if isinstance(items, list) else [items]
        known, self._items = self._items, len(parts)
        if self._read_tokens and len(parts) > known:
            return self._read_tokens + text_size(parts[known:]) // CHARS_PER_TOKEN
        return (text_size(instructions) + text_size(parts)) // CHARS_PER_TOKEN + 1

    def expect(
        self, model: str | None, input_tokens: int, max_output_tokens: int | None
    ) -> Expected:
        """Say what a call will probably use."""
        if max_output_tokens is not None:
            return Expected(input_tokens, max_output_tokens, is_guess=False)
        if self._longest is not None:
            return Expected(input_tokens, self._longest, is_guess=False)
        return Expected(input_tokens, self._answers.longest(model), is_guess=True)

    def ended(self, model: str | None, input_tokens: int, output_tokens: int) -> None:
        """Learn from a call that has ended."""
        self._read_tokens = input_tokens
        self._longest = max(self._longest or 0, output_tokens)
        self._answers.heard(model, output_tokens)


def text_size(value: object, depth: int = 0) -> int:
    """Characters of all text in nested dicts and lists, as the SDK's input items are."""
    if isinstance(value, str):
        # A picture or file inside the request is not read letter by letter.
        return 0 if value.startswith("data:") else len(value)
    if depth < MAX_DEPTH:
        if isinstance(value, dict):
            return sum([text_size(part, depth + 1) for part in value.values()])
        if isinstance(value, list):
            return sum([text_size(part, depth + 1) for part in value])
    return 0
