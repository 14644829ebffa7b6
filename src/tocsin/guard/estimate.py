"""What an LLM call will probably use, told before it is made.

Input: what the run's last call read, plus a token for every four characters that were added since;
for a run's first call, all of its text, and as a guess what such calls to the model have read
beyond that (tools are not in the text). Output: the call's own `max_tokens` where it is set, since
then it cannot be more; else the longest answer in the run so far; else, as a guess, the longest
that the model has lately given in this process.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["Expected", "Forecast", "Habits", "text_size"]

CHARS_PER_TOKEN: Final = 4
FIRST_GUESS: Final = 256
"""Tokens of an answer by a model that has not answered yet."""
DOUBT: Final = 20.0
"""How many times as much as is guessed a call to such a model may use."""
FADES: Final = 0.9
"""What was long counts for less with every later call, so that one outlier is forgotten."""
MAX_MODELS: Final = 1_000
MAX_DEPTH: Final = 8
NESTED: Final = (dict, list)


class Expected(msgspec.Struct, frozen=True, gc=False):
    """Tokens of a call to come: what it will use at least, and what it will use probably."""

    input_tokens: int
    output_tokens: int
    likely_input_tokens: int
    likely_output_tokens: int
    doubt: float = 1.0
    """By how much the truth may be a multiple of this."""

    @property
    def is_sure(self) -> bool:
        """Whether nothing of it is a guess."""
        return (
            self.input_tokens == self.likely_input_tokens
            and self.output_tokens == self.likely_output_tokens
        )


class Habit(msgspec.Struct):
    """What first calls to a model have been like lately."""

    answer_tokens: float = 0.0
    unseen_tokens: float = 0.0
    """Input beyond what the text lets expect."""


class Habits:
    """How much calls to each model have used lately, in this process."""

    def __init__(self) -> None:
        # No lock: what threads might overwrite here for each other is only a guess.
        self._habits: dict[str | None, Habit] = {}

    def of(self, model: str | None) -> Habit | None:
        """What is known of a model; None before its first answer."""
        return self._habits.get(model)

    def heard(self, model: str | None, answer_tokens: int, unseen_tokens: int | None) -> None:
        """Note an answer; unseen_tokens only of a run's first call."""
        habit = self._habits.get(model) or self._new(model)
        habit.answer_tokens = max(answer_tokens, habit.answer_tokens * FADES)
        if unseen_tokens is not None:
            habit.unseen_tokens = max(0, unseen_tokens, habit.unseen_tokens * FADES)

    def _new(self, model: str | None) -> Habit:
        if len(self._habits) >= MAX_MODELS:
            self._habits.clear()  # model names come from outside
        habit = self._habits[model] = Habit()
        return habit


class Forecast:
    """Foretells the calls of one run, of which there is one at a time."""

    def __init__(self, habits: Habits) -> None:
        self._habits = habits
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
        bound = self._longest if max_output_tokens is None else max_output_tokens
        if bound is not None and self._longest is not None:
            return Expected(input_tokens, bound, input_tokens, bound)
        habit = self._habits.of(model)
        likely_input, likely_output, doubt = input_tokens, FIRST_GUESS, DOUBT
        if habit is not None:
            likely_output, doubt = int(habit.answer_tokens), 1.0
            if self._longest is None:
                likely_input += int(habit.unseen_tokens)
        if bound is not None:
            # Of a model that has not answered yet, it is not known what it reads beyond the text.
            return Expected(
                input_tokens, bound, likely_input, bound, 1.0 if self._longest else doubt
            )
        return Expected(input_tokens, 0, likely_input, likely_output, doubt)

    def ended(
        self, model: str | None, expected: Expected, input_tokens: int, output_tokens: int
    ) -> None:
        """Learn from a call that has ended."""
        is_first = self._longest is None
        unseen = input_tokens - expected.input_tokens if is_first else None
        self._habits.heard(model, output_tokens, unseen)
        self._read_tokens = input_tokens
        self._longest = max(self._longest or 0, output_tokens)


def text_size(value: object, depth: int = 0) -> int:
    """Characters of all text in nested dicts and lists, as the SDK's input items are."""
    parts: Iterable[object] = value if isinstance(value, list) else (value,)
    if isinstance(value, dict):
        parts = value.values()
    size = 0
    for part in parts:
        if isinstance(part, str):
            # A picture or file inside the request is not read letter by letter.
            size += 0 if part.startswith("data:") else len(part)
        elif depth < MAX_DEPTH and isinstance(part, NESTED):
            size += text_size(part, depth + 1)
    return size
