"""What has been spent on the current calendar day."""

from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Final

__all__ = ["DailySpend"]

NS_PER_MINUTE: Final = 60_000_000_000
MAX_DAYS: Final = 64
"""Days remembered; more than one, because spans come late and clocks jump and come back."""


class DailySpend:
    """Sum of costs in USD since midnight in a time zone.

    The day is taken from each cost's own time, so a late span does not move yesterday's money
    into today, and a clock that jumps back neither resets nor doubles anything.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._days: dict[date, Decimal | None] = {}

    def add(self, cost_usd: Decimal | None, at_ns: int) -> None:
        """Add a call that ended at a wall-clock time; None: what it cost is not known."""
        day = self._day(at_ns)
        before = self._days.pop(day, None)
        self._days[day] = before if cost_usd is None else (before or Decimal(0)) + cost_usd
        if len(self._days) > MAX_DAYS:
            del self._days[next(iter(self._days))]  # without a new cost for longest

    def today(self, now_ns: int) -> Decimal | None:
        """USD spent on the day of `now_ns`; None where of no call the cost is known."""
        return self._days.get(self._day(now_ns), Decimal(0))

    def _day(self, at_ns: int) -> date:
        return _day_of(at_ns // NS_PER_MINUTE, self._zone)


@lru_cache(maxsize=1024)
def _day_of(minute: int, zone: tzinfo) -> date:
    """Remembers: many costs arise in the same minute, and days begin with one."""
    return datetime.fromtimestamp(minute * 60, zone).date()
