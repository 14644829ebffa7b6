"""What has been spent on the current calendar day."""

from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal

__all__ = ["DailySpend"]


class DailySpend:
    """Sum of costs in USD since midnight in a time zone.

    The day is taken from each cost's own time, so a late span does not move yesterday's money
    into today, and a clock that jumps back neither resets nor doubles anything.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._days: dict[date, Decimal] = {}

    def add(self, cost_usd: Decimal, at_ns: int) -> None:
        """Add a cost that arose at a wall-clock time."""
        day = self._day(at_ns)
        self._days[day] = self._days.get(day, Decimal(0)) + cost_usd

    def today(self, now_ns: int) -> Decimal:
        """USD spent on the day of `now_ns`."""
        today = self._day(now_ns)
        for day in [day for day in self._days if abs((today - day).days) > 1]:
            del self._days[day]
        return self._days.get(today, Decimal(0))

    def _day(self, at_ns: int) -> date:
        return datetime.fromtimestamp(at_ns / 1e9, self._zone).date()
