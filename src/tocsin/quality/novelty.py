"""Whether a tool call told its run anything new."""

from collections.abc import Collection
from typing import Final

from tocsin.model.span import Span

__all__ = ["Novelty"]

MAX_SEEN: Final = 1_024
"""Calls and outputs remembered; a run that has had more is taken to go on learning."""


class Novelty:
    """Remembers calls and outputs. Other arguments or another output than ever before are new."""

    __slots__ = ("_polling", "_seen")

    def __init__(self, polling: Collection[str] = ()) -> None:
        self._polling = polling
        self._seen: set[tuple[str, bool, int | None]] = set()

    def is_new(self, call: Span) -> bool | None:
        """Judge a finished call and remember it; None where that cannot be told.

        A failed call is not new. One that polls is neither, and of one whose arguments or output
        were not recorded nothing is known.
        """
        if call.name in self._polling:
            return None
        if call.error is not None:
            return False
        if call.arguments is None or call.result is None or call.result.output is None:
            return None
        said = (call.name, False, call.arguments)
        got = (call.name, True, call.result.output)
        if said in self._seen and got in self._seen:
            return False
        if len(self._seen) < MAX_SEEN:
            self._seen.update((said, got))
        return True
