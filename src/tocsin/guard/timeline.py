"""When money was spent, in slots of time, and what that lets expect."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.guard.account import ZERO

__all__ = ["SLOT_S", "Left", "Outlook", "Timeline", "at_pace", "like_yesterday"]

NS_PER_S: Final = 1_000_000_000
DAY_S: Final = 86_400
SLOT_S: Final = {"hour": 60, "day": 900, "month": 900}
"""Seconds of a slot by the budget's period, in which every period begins with a new one."""
WINDOW_S: Final = {"hour": 600, "day": 3_600, "month": DAY_S}
"""Seconds over which the current pace is taken: about what a period lasts, divided by 24."""
LEAST_SEEN: Final = 4
"""The current pace is known once a quarter of its window was seen."""
KEPT_S: Final = 2 * DAY_S


class Outlook(msgspec.Struct, frozen=True):
    """What a period will come to, by one of the estimates."""

    total_usd: Decimal
    """At the period's end."""
    runs_out_ns: int | None
    """When the limit is reached; None where that is not before the period's end."""


class Left(msgspec.Struct, frozen=True):
    """What there is of a period still: of its limit, and of its time."""

    spent_usd: Decimal
    limit_usd: Decimal
    now_ns: int
    end_ns: int


class Timeline:
    """USD spent in the last two days, in slots; what is older is forgotten."""

    def __init__(self, slot_s: int, since_ns: int) -> None:
        """since_ns: from when on nothing is missing."""
        self.slot_s = slot_s
        self.since_ns = since_ns
        self._slots: dict[int, Decimal] = {}

    def add(self, usd: Decimal, at_ns: int) -> None:
        """Add what was spent at a wall-clock time."""
        slot = self.slot_of(at_ns)
        is_new = slot not in self._slots
        self._slots[slot] = self._slots.get(slot, ZERO) + usd
        if is_new and len(self._slots) > KEPT_S // self.slot_s:
            del self._slots[min(self._slots)]

    def replace(self, slots: Mapping[int, Decimal], since_ns: int) -> None:
        """Take what is known from elsewhere, by the second in which slots begin."""
        self._slots = {int(slot): usd for slot, usd in slots.items()}
        self.since_ns = since_ns

    def slot_of(self, at_ns: int) -> int:
        """Second in which the slot of a time begins."""
        at_s = at_ns // NS_PER_S
        return at_s - at_s % self.slot_s

    def spent(self, start_ns: int, end_ns: int) -> Decimal:
        """USD spent between two times; of slots that are only partly between them, a part."""
        slot_ns, found = self.slot_s * NS_PER_S, ZERO
        for slot in range(self.slot_of(start_ns), -(-end_ns // NS_PER_S), self.slot_s):
            usd = self._slots.get(slot)
            if usd is not None:
                begin_ns = slot * NS_PER_S
                inside_ns = min(end_ns, begin_ns + slot_ns) - max(start_ns, begin_ns)
                found += usd * inside_ns / slot_ns
        return found

    def pace(self, window_s: int, now_ns: int) -> Decimal | None:
        """USD per nanosecond over a window until now; None while too little of it was seen."""
        seen_ns = min(window_s * NS_PER_S, now_ns - self.since_ns)
        if seen_ns < window_s * NS_PER_S // LEAST_SEEN:
            return None
        # The slot that is going on holds all that was spent in it so far, not a part.
        begun_ns = self.slot_of(now_ns) * NS_PER_S
        going_on = self._slots.get(begun_ns // NS_PER_S, ZERO)
        return (self.spent(now_ns - seen_ns, begun_ns) + going_on) / seen_ns


def at_pace(timeline: Timeline, per: str, left: Left) -> Outlook | None:
    """Say what a period comes to if it goes on as in the last while; None while that is unknown."""
    pace = timeline.pace(WINDOW_S[per], left.now_ns)
    if pace is None:
        return None
    total_usd = left.spent_usd + pace * (left.end_ns - left.now_ns)
    left_usd = left.limit_usd - left.spent_usd
    if left_usd > 0 and total_usd < left.limit_usd:
        return Outlook(total_usd, None)
    return Outlook(total_usd, left.now_ns + (int(left_usd / pace) if left_usd > 0 else 0))


def like_yesterday(timeline: Timeline, left: Left) -> Outlook | None:
    """Say what a period comes to if from now on every day is like the last 24 hours.

    None while these are not known wholly.
    """
    now_ns, day_ns = left.now_ns, DAY_S * NS_PER_S
    if timeline.since_ns > now_ns - day_ns:
        return None
    day_usd = timeline.spent(now_ns - day_ns, now_ns)
    days, last_ns = divmod(left.end_ns - now_ns, day_ns)
    total_usd = left.spent_usd + days * day_usd
    total_usd += timeline.spent(now_ns - day_ns, now_ns - day_ns + last_ns)
    left_usd = left.limit_usd - left.spent_usd
    if left_usd > 0 and total_usd < left.limit_usd:
        return Outlook(total_usd, None)
    return Outlook(total_usd, _runs_out_ns(timeline, now_ns, left_usd, day_usd))


def _runs_out_ns(timeline: Timeline, now_ns: int, left_usd: Decimal, day_usd: Decimal) -> int:
    """Find the slot, in days like the last, in which so much is spent."""
    if left_usd <= 0:
        return now_ns
    day_ns, slot_ns = DAY_S * NS_PER_S, timeline.slot_s * NS_PER_S
    days = max(0, int(left_usd / day_usd) - 1)
    at_ns, spent_usd = now_ns + days * day_ns, days * day_usd
    while spent_usd < left_usd:
        since_ns = now_ns - day_ns + (at_ns - now_ns) % day_ns
        spent_usd += timeline.spent(since_ns, min(since_ns + slot_ns, now_ns))
        at_ns += slot_ns
    return at_ns
