"""A budget as an account that calls are reserved against, in this process or shared with others."""

from decimal import Decimal
from typing import Final, Protocol

from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.guard.account import ZERO, Amount, LimitedAccount, Need, Shortage
from tocsin.guard.budgets import Budget
from tocsin.guard.periods import Calendar, Period
from tocsin.model.run import BUDGET_LIMIT

__all__ = ["BudgetAccount", "BudgetRoom", "OwnRoom"]


MAX_LEFT: Final = 8


class BudgetRoom(Protocol):
    """How much of a budget this process may spend: the whole of it, or what a server grants.

    All amounts are totals of this process since the period began, never differences, so that a
    message that is lost or repeated changes nothing. Methods are called under the ledger's lock, on
    the threads that run agents: they look at what is known, and never wait, read or send.
    """

    def granted_usd(self, period: Period) -> Decimal:
        """Most that this process may spend in the period, with all that it has spent already."""
        ...

    def ask(self, period: Period, total_usd: Decimal) -> bool:
        """Hear that so much in all would be needed now, which is more than is granted.

        True where more may be granted soon: the call then waits and tries again, for two minutes
        at most. False where it cannot be: the budget is used up, or nobody answers.
        """
        ...

    def used(self, period: Period, spent_usd: Decimal, held_usd: Decimal) -> None:
        """Hear what was spent in the period so far, and what calls in flight hold beyond that."""
        ...


class OwnRoom:
    """The whole budget but for what others have spent: earlier processes, or those beside it.

    is_blind: what they have spent cannot be read; calls are then refused as where Tocsin fails.
    """

    def __init__(self, stop_usd: Decimal) -> None:
        self.stop_usd = stop_usd
        self.is_blind = False
        self._others: dict[Period, Decimal] = {}

    def others_spent(self, period: Period, usd: Decimal) -> None:
        """Learn what others have spent in a period, which takes the place of what was known."""
        self.is_blind = False
        self._others = {period: usd}

    def granted_usd(self, period: Period) -> Decimal:
        """Return what the others have left. Raises StoreError where that is not to be known."""
        if self.is_blind:
            raise StoreError("what was spent of a budget before is not known: its file is unread")
        return self.stop_usd - self._others.get(period, ZERO)

    def ask(self, period: Period, total_usd: Decimal) -> bool:
        """Say that there is no more."""
        return False

    def used(self, period: Period, spent_usd: Decimal, held_usd: Decimal) -> None:
        """Note nothing: nobody else has to know."""


class BudgetAccount(LimitedAccount):
    """Reserves calls against one budget's room in its current period.

    A call counts into the period in which it ends. `cost_usd` is what this process has spent in
    the period. Calls without a price are let through, and counted by whoever prices them.
    """

    def __init__(self, budget: Budget, room: BudgetRoom, clock: Clock) -> None:
        super().__init__(budget.name, cost_usd=ZERO)
        self.budget = budget
        self.room = room
        self._clock = clock
        self._calendar = Calendar(budget.per, budget.zone)
        self._period = self._calendar.period(clock.wall_ns())
        self._heard_usd = ZERO
        self._left: dict[Period, tuple[Decimal, Decimal]] = {}
        """What was settled and heard in periods that may come back, where the clock is set."""

    def lacks(self, firm: Amount) -> Shortage | None:
        """Say that the amount is more than is left."""
        self._begin_period()
        self._most_usd = self.limits["cost"] = self.room.granted_usd(self._period)
        return super().lacks(firm)

    def is_growing(self, firm: Amount) -> bool:
        """Ask for what is lacking; say whether it may come."""
        return self.room.ask(self._period, self.cost_usd + self.held_usd + (firm.cost_usd or ZERO))

    def is_crowded(self, need: Need) -> bool:
        """Whether calls in flight might, together with this one, need more than is left."""
        is_crowded = super().is_crowded(need)
        if is_crowded:
            self.room.ask(self._period, self.feared_usd(need))
        return is_crowded

    def hold(self, need: Need) -> Amount:
        """Set aside what is firm, and of the rest what there is room for."""
        held = super().hold(need)
        self.room.used(self._period, self.cost_usd, self.held_usd)
        return held

    def settle(self, held: Amount, used: Amount | None, likely: Amount) -> None:
        """Turn what was set aside into what was used, in the period that it is now."""
        self._begin_period()
        super().settle(held, used, likely)
        self.room.used(self._period, self.cost_usd, self.held_usd)

    def heard(self, period: Period, usd: Decimal) -> None:
        """Learn from spans what calls that nobody reserved have spent in a period so far."""
        self._begin_period()
        if period == self._period and usd != self._heard_usd:
            self.cost_usd += usd - self._heard_usd
            self._heard_usd = usd
            self.room.used(period, self.cost_usd, self.held_usd)

    def _begin_period(self) -> None:
        """Go on to the period that it is now, if that is another one."""
        now_ns, (start_ns, end_ns) = self._clock.wall_ns(), self._period
        if start_ns <= now_ns < end_ns:
            return
        self._left[self._period] = self.cost_usd, self._heard_usd
        if len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._period = self._calendar.period(now_ns)
        self.cost_usd, self._heard_usd = self._left.pop(self._period, (ZERO, ZERO))

    def _shortage(self, limit: str, value: float | Decimal) -> Shortage:
        """Name the budget; what is not granted to this process counts as spent by others."""
        stop_usd = self.budget.stop_usd or self.limits["cost"]
        total_usd = stop_usd - self.limits["cost"] + Decimal(value)
        return Shortage(self.name, BUDGET_LIMIT + self.name, float(total_usd), float(stop_usd))
