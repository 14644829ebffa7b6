"""Hours, days and months as a calendar in a time zone has them, also when clocks are changed."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["PERIODS", "Calendar", "Period", "zone_of"]

PERIODS: Final = ("hour", "day", "month")

NS_PER_S: Final = 1_000_000_000
S_PER_HOUR: Final = 3_600
LAST_S: Final = 4_102_444_800
"""The year 2100: times after it are slips of a clock, and the calendar must not fail on them."""


class Period(NamedTuple):
    """An hour, day or month: from start_ns on, up to and without end_ns, in wall-clock time."""

    start_ns: int
    end_ns: int

    def __contains__(self, at_ns: object) -> bool:
        return isinstance(at_ns, int) and self.start_ns <= at_ns < self.end_ns


class Calendar:
    """Divides time into periods without gap or overlap.

    A day begins with the first moment whose date is its own: where clocks are changed, days have
    23 or 25 hours, and some begin at 1:00. An hour ends on the full hour, and also where the clock
    is changed: the one that happens twice is two hours, and a change by half an hour leaves a short
    one.
    """

    def __init__(self, per: str, zone: tzinfo) -> None:
        """per: hour, day or month."""
        self.per = per
        self.zone = zone
        self._last = Period(0, 0)

    def period(self, at_ns: int) -> Period:
        """Period that a wall-clock time is in."""
        last = self._last
        if not last.start_ns <= at_ns < last.end_ns:
            at_s = min(max(0, at_ns // NS_PER_S), LAST_S)
            start_s, end_s = self._hour(at_s) if self.per == "hour" else self._dates(at_s)
            last = self._last = Period(start_s * NS_PER_S, end_s * NS_PER_S)
        return last

    def _hour(self, at_s: int) -> tuple[int, int]:
        offset_s = offset(at_s, self.zone)
        start_s = at_s - (at_s + offset_s) % S_PER_HOUR
        end_s = start_s + S_PER_HOUR
        if offset(start_s, self.zone) != offset_s:
            start_s = change(start_s, at_s, self.zone)
        if offset(end_s - 1, self.zone) != offset_s:
            end_s = change(at_s, end_s - 1, self.zone)
        return start_s, end_s

    def _dates(self, at_s: int) -> tuple[int, int]:
        first = datetime.fromtimestamp(at_s, self.zone).date()
        if self.per == "month":
            first = first.replace(day=1)
        # More than once only where clocks were set back over midnight, or a date was left out.
        while (end_s := begin(self._next(first), self.zone)) <= at_s:
            first = self._next(first)
        return begin(first, self.zone), end_s

    def _next(self, day: date) -> date:
        if self.per == "month":
            return (day + timedelta(days=31)).replace(day=1)
        return day + timedelta(days=1)


def zone_of(name: object) -> tzinfo | None:
    """Time zone by its IANA name; None where there is none, or the system knows none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name) if isinstance(name, str) and name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # no such file, no such path, a directory
        return None


def offset(at_s: int, zone: tzinfo) -> int:
    """Seconds by which a zone's clocks are ahead of UTC."""
    ahead = datetime.fromtimestamp(at_s, zone).utcoffset()
    return int(ahead.total_seconds()) if ahead is not None else 0


def change(before_s: int, after_s: int, zone: tzinfo) -> int:
    """First second with another offset than before_s; after_s has another."""
    old = offset(before_s, zone)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if offset(middle_s, zone) == old:
            before_s = middle_s
        else:
            after_s = middle_s
    return after_s


@lru_cache(maxsize=1024)
def begin(day: date, zone: tzinfo) -> int:
    """Second in which a date begins: at midnight, or where clocks skip that, when they do."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    at_s = int(midnight.timestamp())
    if datetime.fromtimestamp(at_s, zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return at_s  # the first of the two, where midnight happens twice
    return change(int(midnight.replace(fold=1).timestamp()), at_s, zone)
