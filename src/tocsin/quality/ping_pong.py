"""Two agents that hand a run to and fro."""

from tocsin.model.label import UNKNOWN
from tocsin.model.span import Span
from tocsin.quality.novelty import Novelty
from tocsin.quality.settings import Quality

__all__ = ["PingPong"]


class PingPong:
    """Counts hand-offs between the same two agents, as long as no tool call tells anything new.

    Handing back after work was done is what hand-offs are for. Calls before the first hand-off are
    not remembered: most runs have none.
    """

    __slots__ = ("_count", "_last", "_novelty", "_settings")

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._novelty = Novelty()
        self._last: tuple[str | None, str | None] = (None, None)
        self._count = 0

    def add_tool(self, call: Span) -> None:
        """Take a finished tool call: anything but a failure or a repetition counts as work."""
        if self._count and self._novelty.is_new(call) is not False:
            self._count = 0

    def add_handoff(self, handoff: Span) -> str | None:
        """Take a finished hand-off; return what is wrong, if it is one too many."""
        giver, taker = handoff.from_agent, handoff.to_agent
        if handoff.error is not None or giver == taker or {giver, taker} & {None, UNKNOWN}:
            return None
        is_back = self._count > 0 and self._last == (taker, giver)
        self._count = self._count + 1 if is_back else 1
        self._last = (giver, taker)
        limit = self._settings.ping_pong
        if limit is None or self._count < limit:
            return None
        return f"{giver} and {taker} handed over to each other {self._count} times without result"
