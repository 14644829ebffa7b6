"""What has been spent of every budget, by this process and by others."""

from collections.abc import Iterable, Sequence, Set
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from tocsin.guard.account import ZERO
from tocsin.guard.budgets import Budget, Work
from tocsin.guard.periods import Calendar, Period
from tocsin.guard.timeline import SLOT_S, Left, Outlook, Timeline, at_pace, like_yesterday

__all__ = ["BudgetBook", "BudgetLine", "Spent"]

NS_PER_S: Final = 1_000_000_000
T = TypeVar("T")

MAX_PERIODS: Final = 64
"""Periods remembered; more than one, because spans come late and clocks jump and come back."""


class Spent(msgspec.Struct, frozen=True):
    """What calls came to: USD of those that have a price, and how many have and have not."""

    usd: Decimal = ZERO
    priced: int = 0
    unpriced: int = 0

    @property
    def known_usd(self) -> Decimal | None:
        """USD; None where calls were made and not one of them has a price."""
        return None if self.unpriced and not self.priced else self.usd

    def plus(self, other: "Spent", sign: int = 1) -> "Spent":
        """Both together, or with sign -1 the difference."""
        return Spent(
            self.usd + sign * other.usd,
            self.priced + sign * other.priced,
            self.unpriced + sign * other.unpriced,
        )


NOTHING: Final = Spent()


class BudgetLine:
    """One budget: what this process and others have spent in its periods.

    Not thread-safe; the worker owns it.
    """

    def __init__(self, budget: Budget, now_ns: int) -> None:
        self.budget = budget
        self.calendar = Calendar(budget.per, budget.zone)
        self.timeline = Timeline(SLOT_S[budget.per], now_ns)
        self.unwritten: dict[int, Spent] = {}
        """By slot, what this process has spent and nobody has stored yet."""
        self._own: dict[Period, Spent] = {}
        self._unguarded: dict[Period, Decimal] = {}
        self._others: dict[Period, Spent] = {}
        self._told: dict[Period, Set[str]] = {}

    @property
    def limit_usd(self) -> Decimal:
        """USD that may be spent per period."""
        return Decimal(self.budget.limit)

    def add(self, usd: Decimal | None, at_ns: int, *, is_guarded: bool = False) -> None:
        """Add a call that ended at a wall-clock time; usd is None where it has no price.

        is_guarded: it was reserved before it was made, and its account knows of it.
        """
        spent = Spent(ZERO, 0, 1) if usd is None else Spent(usd, 1, 0)
        period, slot = self.calendar.period(at_ns), self.timeline.slot_of(at_ns)
        remember(self._own, period, self.own(period).plus(spent))
        self.unwritten[slot] = self.unwritten.get(slot, NOTHING).plus(spent)
        self.timeline.add(spent.usd, at_ns)
        if not is_guarded:
            remember(self._unguarded, period, self.unguarded_usd(period) + spent.usd)

    def own(self, period: Period) -> Spent:
        """What this process has spent in a period."""
        return self._own.get(period, NOTHING)

    def unguarded_usd(self, period: Period) -> Decimal:
        """USD of it for calls that nobody reserved before they were made."""
        return self._unguarded.get(period, ZERO)

    def others(self, period: Period) -> Spent:
        """What all others have, as far as is known: before it was started, or beside it."""
        return self._others.get(period, NOTHING)

    def spent(self, period: Period) -> Spent:
        """What has been spent in a period."""
        return self.own(period).plus(self.others(period))

    def stored(self, period: Period, total: Spent) -> None:
        """Learn what all have stored in a period, this process's `unwritten` not included."""
        own_stored = self.own(period)
        for slot, spent in self.unwritten.items():
            if slot * NS_PER_S in period:
                own_stored = own_stored.plus(spent, -1)
        remember(self._others, period, total.plus(own_stored, -1))

    def told(self, period: Period) -> Set[str]:
        """Keys of the events that were told in a period."""
        return self._told.get(period, frozenset())

    def tell(self, period: Period, keys: Iterable[str]) -> None:
        """Note that events of a period were told."""
        remember(self._told, period, self.told(period) | set(keys))

    def recent(self, now_ns: int) -> list[Period]:
        """The current period, and the one before it, for which calls may still come in."""
        current = self.calendar.period(now_ns)
        before = self.calendar.period(current.start_ns - 1)
        return [current, before] if before in self._own else [current]

    def outlooks(self, now_ns: int) -> dict[str, Outlook]:
        """What the current period will come to, by estimate: pace, yesterday; those known."""
        period = self.calendar.period(now_ns)
        spent = self.spent(period)
        if spent.known_usd is None:
            return {}
        left = Left(spent.usd, self.limit_usd, now_ns, period.end_ns)
        found = {
            "pace": at_pace(self.timeline, self.budget.per, left),
            "yesterday": like_yesterday(self.timeline, left),
        }
        return {name: outlook for name, outlook in found.items() if outlook is not None}


class BudgetBook:
    """All budgets, by name; a call counts into each that covers it."""

    def __init__(self) -> None:
        self.lines: dict[str, BudgetLine] = {}

    def open(self, budgets: Sequence[Budget], now_ns: int) -> None:
        """Keep budgets from now on, in place of those with the same names.

        Where only amounts are other ones, what was spent stays.
        """
        for budget in budgets:
            line = self.lines.get(budget.name)
            if line is not None and line.budget.counts_like(budget):
                line.budget = budget
            else:
                self.lines[budget.name] = BudgetLine(budget, now_ns)

    def add(
        self, work: Work, usd: Decimal | None, at_ns: int, *, is_guarded: bool = False
    ) -> list[BudgetLine]:
        """Add a call as BudgetLine.add does; return the budgets that it counts into."""
        lines = [line for line in self.lines.values() if line.budget.covers(work)]
        for line in lines:
            line.add(usd, at_ns, is_guarded=is_guarded)
        return lines


def remember(table: dict[Period, T], period: Period, value: T) -> None:
    """Set a period's entry; the one that was not set for longest goes where there are too many."""
    table.pop(period, None)
    table[period] = value
    if len(table) > MAX_PERIODS:
        del table[next(iter(table))]
