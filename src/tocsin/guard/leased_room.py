"""A budget's room in a process that shares the budget with others, through a server."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from tocsin.clock import Clock
from tocsin.guard.budgets import Budget
from tocsin.guard.held_lease import HeldLease, Use
from tocsin.guard.leases import Claim, Grant
from tocsin.guard.periods import Period

__all__ = ["LeasedRoom"]

UNLIMITED: Final = Decimal("Infinity")
ZERO: Final = Decimal(0)
MAX_PERIODS: Final = 16
"""Periods of which what was used is still to be reported, while the server is away."""
RUNNING_LOW: Final = 2
"""The server is asked at once when less is left than calls in flight hold, so many times over."""


class LeasedRoom:
    """What the server has granted, period by period; see `BudgetRoom`.

    Everything is called under the ledger's lock. wake: has the server asked soon; must not wait.
    """

    def __init__(self, budget: Budget, worker: str, clock: Clock, wake: Callable[[], None]) -> None:
        self.budget = budget
        self.is_gone = False
        """The server does not know the budget any more, so nobody holds anyone to it."""
        self.unchecked = 0
        """Calls that went through because the server could not be asked."""
        self._clock = clock
        self._wake = wake
        self.forget(worker)

    def forget(self, worker: str) -> None:
        """Begin anew, as another worker: in a forked child."""
        self._worker = worker
        self._leases: dict[Period, HeldLease] = {}
        self._uses: dict[Period, Use] = {}

    def granted_usd(self, period: Period) -> Decimal:
        """Most that this process may spend in the period, with all that it has spent already."""
        lease, now_ns = self._lease(period), self._clock.monotonic_ns()
        if self.is_gone or self._is_open(lease, now_ns):
            return UNLIMITED
        limit = lease.limit(self._uses[period], now_ns)
        return UNLIMITED if limit is None else limit

    def ask(self, period: Period, total_usd: Decimal) -> bool:
        """Ask for more; whether it may come, as far as is known."""
        lease, use = self._lease(period), self._uses[period]
        lease.lacks(max(ZERO, total_usd - use.used - use.held))
        self._wake()
        if lease.is_cut_off(self._clock.monotonic_ns()):
            return False
        return lease.reach is None or total_usd <= lease.reach

    def used(self, period: Period, spent_usd: Decimal, held_usd: Decimal) -> None:
        """Note what was spent, and what calls in flight hold."""
        lease, before = self._lease(period), self._uses[period]
        use = self._uses[period] = Use(spent_usd, held_usd)
        limit = lease.limit(use, self._clock.monotonic_ns())
        if limit is None:
            return
        left_usd = limit - spent_usd - held_usd
        if left_usd < RUNNING_LOW * held_usd:
            self._wake()
        self.unchecked += left_usd < 0 and held_usd > before.held

    def claims(self, seq: int, now_ns: int, *, is_last: bool) -> list[Claim]:
        """What is to be asked for now, of each period. is_last: what is left is given back."""
        asks = {
            period: lease.ask(self._uses[period], seq, now_ns, is_last=is_last)
            for period, lease in self._leases.items()
        }
        name = self.budget.name
        return [Claim(name, p.start_ns, ask) for p, ask in asks.items() if ask is not None]

    def heard(
        self, claim: Claim, grant: Grant, *, asked_ns: int, expiry_s: float, now_ns: int
    ) -> None:
        """Take an answer."""
        for period, lease in self._leases.items():
            if period.start_ns == claim.period_ns:
                lease.heard(claim.ask, grant, asked_ns=asked_ns, expiry_s=expiry_s, now_ns=now_ns)

    def missed(self, claim: Claim) -> None:
        """Note that a claim was not answered."""
        for period, lease in self._leases.items():
            if period.start_ns == claim.period_ns:
                lease.missed()

    def _is_open(self, lease: HeldLease, now_ns: int) -> bool:
        """Whether calls are let through unchecked."""
        return self.budget.on_failure == "open" and lease.is_cut_off(now_ns)

    def _lease(self, period: Period) -> HeldLease:
        lease = self._leases.get(period)
        if lease is None:
            if len(self._leases) >= MAX_PERIODS:
                oldest = min(self._leases)
                del self._leases[oldest], self._uses[oldest]
            lease = self._leases[period] = HeldLease(self._worker)
            self._uses[period] = Use()
        return lease
