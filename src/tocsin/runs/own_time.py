"""Time that each part of a run has taken itself, without what it was waiting for."""

from typing import Final

import msgspec

from tocsin.runs.takers import Taker

__all__ = ["OwnTime", "Part"]

MAX_OPEN: Final = 1_000
"""Parts of a run that go on at once and are told apart; the time of more is their parent's."""


class Part(msgspec.Struct):
    """A part that goes on. It works while nothing inside of it does."""

    taker: Taker
    parent: "Part | None"
    since_ns: float
    """Where the clock stood when it began to work, or last did so again."""
    busy: int = 0
    """Parts inside of it that go on."""
    is_over: bool = False


class OwnTime:
    """Divides the time of a run among the parts that work, evenly where several do.

    So the times of all parts add up to the run's, however they are nested or overlap. Begin and
    end take constant time: a clock runs at the pace at which each of the working parts gets time,
    and what a part has taken is the difference between two of its readings.
    """

    __slots__ = ("_clock_ns", "_now_ns", "_working", "open")

    def __init__(self, started_ns: int) -> None:
        self.open: dict[str, Part] = {}
        """Parts that go on, by the id of their span."""
        self._now_ns = started_ns
        self._clock_ns = 0.0
        self._working = 0

    def begin(self, span_id: str, taker: Taker, parent: Part | None, at_ns: int) -> None:
        """Note that a part begins."""
        open_ = self.open
        if span_id in open_ or len(open_) >= MAX_OPEN:
            return
        clock_ns = self._go_on(at_ns) if at_ns > self._now_ns else self._clock_ns
        if parent is not None:
            if not parent.busy:
                parent.taker.own_ns += clock_ns - parent.since_ns
                self._working -= 1
            parent.busy += 1
        open_[span_id] = Part(taker, parent, clock_ns)
        self._working += 1

    def end(self, part: Part, taker: Taker, at_ns: int) -> None:
        """Note that a part, which is not in `open` any more, has ended; taker: whose it was."""
        clock_ns = self._go_on(at_ns) if at_ns > self._now_ns else self._clock_ns
        part.is_over = True
        if not part.busy:
            taker.own_ns += clock_ns - part.since_ns
            self._working -= 1
        parent = part.parent
        if parent is not None:
            parent.busy -= 1
            if not parent.busy and not parent.is_over:
                parent.since_ns = clock_ns
                self._working += 1

    def bring_up(self, now_ns: int) -> None:
        """Give every part that works its time so far."""
        clock_ns = self._go_on(now_ns) if now_ns > self._now_ns else self._clock_ns
        for part in self.open.values():
            if not part.busy:
                part.taker.own_ns += clock_ns - part.since_ns
                part.since_ns = clock_ns

    def _go_on(self, at_ns: int) -> float:
        """Bring the clock up to a later time; return what it shows."""
        if self._working:
            self._clock_ns += (at_ns - self._now_ns) / self._working
        self._now_ns = at_ns
        return self._clock_ns
