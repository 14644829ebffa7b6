"""How long conversations are, in runs."""

from collections import OrderedDict
from typing import Final

__all__ = ["Conversations"]

MAX_CONVERSATIONS: Final = 50_000


class Conversations:
    """Counts the runs of each conversation; the least recently continued are forgotten."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, int] = OrderedDict()

    def continue_one(self, conversation_id: str) -> int:
        """Count one more run and return how many the conversation has had."""
        count = self._runs.pop(conversation_id, 0) + 1
        self._runs[conversation_id] = count
        if len(self._runs) > MAX_CONVERSATIONS:
            self._runs.popitem(last=False)
        return count
