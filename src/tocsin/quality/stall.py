"""An agent whose context grows while it learns nothing."""

from tocsin.model.span import Span
from tocsin.quality.novelty import Novelty
from tocsin.quality.settings import Quality

__all__ = ["Stall"]


class Stall:
    """Counts an agent's model calls in a row that had more input and nothing new to work on.

    Between two of them at least one tool call must have been seen that failed or repeated, and
    none that was new: where nothing is known, nothing is counted.
    """

    __slots__ = ("_input_tokens", "_learned", "_novelty", "_settings", "_stalled", "_wasted")

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._novelty = Novelty(settings.polling)
        self._stalled = 0
        self._input_tokens = 0
        self._learned = False
        self._wasted = False

    def add_tool(self, call: Span) -> None:
        """Take the next finished tool call."""
        is_new = self._novelty.is_new(call)
        self._learned |= is_new is True
        self._wasted |= is_new is False

    def add_call(self, call: Span) -> str | None:
        """Take the next finished model call; return what is wrong, if the agent is stalled."""
        if call.error is not None or call.usage is None:
            return None
        grew = call.usage.input_tokens > self._input_tokens
        self._stalled = self._stalled + 1 if grew and self._wasted and not self._learned else 0
        self._input_tokens = call.usage.input_tokens
        self._learned = self._wasted = False
        limit = self._settings.stalled_calls
        if limit is None or self._stalled < limit:
            return None
        return (
            f"context grew to {self._input_tokens:,} tokens over {self._stalled} model calls"
            " without a new tool result"
        )
