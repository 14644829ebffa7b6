"""An agent that makes the same tool calls over and over."""

from collections import deque
from itertools import islice

from tocsin.model.span import Span
from tocsin.quality.settings import Quality

__all__ = ["Loop"]

Call = tuple[str, int, int | str | None]
"""Tool, hash of its arguments, and hash of its output, or class of its error."""


class Loop:
    """The latest calls of one agent.

    Calls are the same if tool, arguments and outcome are: a poll whose answer changes is no loop.
    Where outputs were not recorded it takes twice as many calls.
    """

    __slots__ = ("_calls", "_settings")

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        window = max((settings.same_calls or 0) * 4, (settings.same_pairs or 0) * 4, 1)
        self._calls: deque[Call] = deque(maxlen=window)

    def add(self, call: Span) -> str | None:
        """Take the next finished call; return what the loop is, if this is one."""
        if call.arguments is None or call.name in self._settings.polling:
            return None
        outcome = call.error or (None if call.result is None else call.result.output)
        this = (call.name, call.arguments, outcome)
        self._calls.append(this)
        patience = 2 if outcome is None else 1
        same, pairs = self._settings.same_calls, self._settings.same_pairs
        if same is not None and self._repeats(this, same * patience):
            return f"{call.name} was called {same * patience} times with the same arguments"
        if pairs is not None and self._alternates(pairs * patience):
            other = self._calls[-2][0]
            return (
                f"{other} and {call.name} were called in turn {pairs * patience} times"
                " with the same arguments"
            )
        return None

    def _repeats(self, this: Call, times: int) -> bool:
        """Whether at least half of the latest calls, and so many, are this one."""
        if self._calls.count(this) < times:
            return False
        return list(islice(reversed(self._calls), 2 * times)).count(this) >= times

    def _alternates(self, pairs: int) -> bool:
        calls = self._calls
        if len(calls) < 2 * pairs or calls[-1] != calls[-3] or calls[-1] == calls[-2]:
            return False
        return all(calls[-i] == calls[-i - 2] for i in range(1, 2 * pairs - 1))
