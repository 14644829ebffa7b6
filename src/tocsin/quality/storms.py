"""Calls that are tried again and again although they keep failing."""

from typing import Final

from tocsin.model.span import ErrorClass, Kind, Span
from tocsin.quality.settings import Quality

__all__ = ["Storm"]

MAX_NAMES: Final = 64
"""Failing tools remembered per agent."""


class Storm:
    """Counts the failures in a row of each of an agent's tools, and of its model.

    Calls made at once are one attempt: none of them knew that another had failed.
    """

    __slots__ = ("_failures", "_settings")

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._failures: dict[str, tuple[int, int]] = {}

    def add(self, call: Span) -> str | None:
        """Take a finished call; return what is wrong, if it is a retry too many."""
        name = "the model" if call.kind is Kind.LLM else call.name
        if call.error is ErrorClass.CANCELLED:
            return None
        count, failed_ns = self._failures.pop(name, (0, 0))
        if call.error is None:
            return None
        count += call.started_ns >= failed_ns
        if len(self._failures) < MAX_NAMES:
            self._failures[name] = count, max(failed_ns, call.ended_ns)
        limit = self._settings.failures_in_row
        if limit is None or count < limit:
            return None
        return f"{name} failed {count} times in a row ({call.error})"
