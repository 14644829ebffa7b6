"""How several processes share a budget: small leases whose sum never passes it.

A worker says what it has used in total, and gets leave to use so much in total. Totals, not
differences: a message that is lost, repeated or overtaken by a later one changes nothing. What a
worker was granted and has not used is set aside for it until it gives that back, or until it has
been silent for so long that it must have stopped using it by its own clock.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Final

import msgspec

from tocsin.model.lease import LeaseRow

__all__ = ["TERMS", "Ask", "Claim", "Grant", "LeaseBook", "Terms", "TooManyWorkersError"]

ZERO: Final = Decimal(0)
STEP_USD: Final = Decimal("1e-12")
"""What the store keeps."""
NS_PER_S: Final = 1_000_000_000


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How leases are given out."""

    expiry_s: float = 60.0
    """How long a worker may use a lease without having it renewed, by its own clock."""
    grace_s: float = 2.0
    """How much longer it is kept for the worker: two clocks never run quite alike."""
    share: Decimal = Decimal("0.125")
    """Of what nobody has yet, what one request may get, unless a single call needs more."""
    least: Decimal = Decimal("0.002")
    """Of the whole, what it may get in any case: what is left must not be cut ever smaller."""
    max_workers: int = 10_000
    """Of one budget in one period that are told apart."""


TERMS: Final = Terms()


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's request, its amounts in USD since the period began."""

    worker: str
    seq: int
    """Grows with each of a worker's requests."""
    used: Decimal
    holds: Decimal = ZERO
    """In total, what it keeps to until it is answered; less than was granted gives back."""
    need: Decimal = ZERO
    """Beyond `used`, without which the rest is of no use."""
    room: Decimal = ZERO
    """Beyond `used`, what it would like to have."""


class Claim(msgspec.Struct, frozen=True):
    """What a worker asks of one budget in the period that begins at period_ns."""

    budget: str
    period_ns: int
    ask: Ask


class Grant(msgspec.Struct, frozen=True):
    """What a worker may use in total.

    reach: what it could be if all others gave back what they hold. None: there is no limit.
    """

    granted: Decimal | None
    reach: Decimal | None


class Lease(LeaseRow, kw_only=True):
    """A worker's part, while the server runs."""

    stored: Decimal = ZERO
    """What its spans cost, so that what a dead worker never reported counts all the same."""
    until_ns: int = 0

    @property
    def spent(self) -> Decimal:
        """What it has used, as far as is known."""
        return max(self.used, self.stored)

    @property
    def committed(self) -> Decimal:
        """What it has used or may still use."""
        return max(self.granted, self.used, self.stored)


class TooManyWorkersError(Exception):
    """There is no room for another worker: all that are known hold leases."""


class LeaseBook:
    """The leases of one budget in one period. Not thread-safe.

    cap: what may be spent in all; None where nothing is ever stopped. Times are monotonic.
    """

    def __init__(self, cap: Decimal | None, terms: Terms = TERMS) -> None:
        self.cap = cap
        self._terms = terms
        self._kept_ns = int((terms.expiry_s + terms.grace_s) * NS_PER_S)
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        """By the time of the last request, the longest silent first."""
        self._holders: OrderedDict[str, Lease] = OrderedDict()
        """Those that hold something, in the same order."""
        self._forgotten = LeaseRow(worker="")
        """What workers had reported, beyond what their spans cost, that are not told apart."""
        self._stored = ZERO
        """What spans cost of all who have no lease here."""
        self._spent = self._committed = ZERO
        self._unwritten: set[str] = set()
        """Workers whose rows differ from what is on disk; "": the sum of the forgotten ones."""
        self._unneeded: set[str] = set()
        """Workers whose rows can go from disk."""

    @property
    def spent(self) -> Decimal:
        """USD that have been used, as far as is known."""
        return self._spent + self._stored + self._forgotten.used

    @property
    def leased(self) -> Decimal:
        """USD that workers may use beyond that."""
        return self._committed - self._spent

    @property
    def workers(self) -> int:
        """Workers that are told apart."""
        return len(self._leases)

    def restore(self, rows: Iterable[LeaseRow], now_ns: int) -> None:
        """Take back what was on disk; every lease is kept for its full time once more."""
        for row in rows:
            if row.worker:
                fields = msgspec.structs.asdict(row)
                lease = Lease(**fields, until_ns=now_ns + self._kept_ns)
                self._place(lease)
                self._count(lease, 1)
            else:
                self._forgotten = row

    def set_stored(self, totals: Mapping[str, Decimal]) -> None:
        """Take what spans cost in all, by worker, in place of what was known."""
        self._stored = ZERO
        for lease in self._leases.values():
            self._count(lease, -1)
            lease.stored = ZERO
            self._count(lease, 1)
        for worker, usd in totals.items():
            self.add_stored(worker, usd)

    def add_stored(self, worker: str, usd: Decimal) -> None:
        """Count what a worker's spans cost; "": those of a program that leases nothing."""
        lease = self._leases.get(worker)
        if lease is None:
            self._stored += usd
            return
        self._count(lease, -1)
        lease.stored += usd
        self._count(lease, 1)

    def ask(self, ask: Ask, now_ns: int) -> Grant:
        """Note what a worker has used, and grant it more. Raises TooManyWorkersError."""
        self.expire(now_ns)
        lease = self._leases.get(ask.worker)
        if lease is None:
            self._make_room()
            self._unneeded.discard(ask.worker)
            lease = Lease(worker=ask.worker)
        if ask.seq > lease.seq:
            self._count(lease, -1)
            self._renew(lease, ask, now_ns)
            self._count(lease, 1)
            self._place(lease)
            self._unwritten.add(ask.worker)
        if self.cap is None:
            return Grant(None, None)
        others = self.spent - lease.spent
        return Grant(lease.granted, max(lease.granted, self.cap - others))

    def expire(self, now_ns: int) -> None:
        """Take back the leases of workers that have been silent for too long."""
        while self._holders:
            lease = next(iter(self._holders.values()))
            if lease.until_ns > now_ns:
                break
            del self._holders[lease.worker]
            self._count(lease, -1)
            lease.granted = lease.used
            self._count(lease, 1)
            self._unwritten.add(lease.worker)

    def take_changes(self) -> list[tuple[LeaseRow, bool]]:
        """Copies of the rows that are to be written, and whether they are to be deleted."""
        known: dict[str, LeaseRow] = (
            {"": self._forgotten, **self._leases} if self._unwritten else {}
        )
        rows = [(_row(known[worker]), False) for worker in sorted(self._unwritten)]
        rows += [(LeaseRow(worker=worker), True) for worker in sorted(self._unneeded)]
        self._unwritten, self._unneeded = set(), set()
        return rows

    def put_back(self, worker: str, *, is_gone: bool) -> None:
        """Note that a change could not be written."""
        is_known = not worker or worker in self._leases
        if is_known and not is_gone:
            self._unwritten.add(worker)
        elif is_gone and not is_known:
            self._unneeded.add(worker)

    @property
    def has_changes(self) -> bool:
        """Whether there is something to be written."""
        return bool(self._unwritten or self._unneeded)

    def _renew(self, lease: Lease, ask: Ask, now_ns: int) -> None:
        """Change a lease that is taken out of the sums."""
        lease.seq = ask.seq
        lease.until_ns = now_ns + self._kept_ns
        lease.used = max(lease.used, ask.used)
        lease.granted = max(lease.used, min(lease.granted, ask.holds))
        if self.cap is None:
            return
        free = self.cap - self.spent - self.leased - lease.committed
        wanted, lacking = (lease.used + usd - lease.granted for usd in (ask.room, ask.need))
        allowed = max(free * self._terms.share, self.cap * self._terms.least)
        more = min(free, max(lacking, min(wanted, allowed))).quantize(STEP_USD, ROUND_DOWN)
        if more > 0 and more >= lacking:
            lease.granted += more

    def _make_room(self) -> None:
        """Forget the worker that has been silent longest; what it has used still counts."""
        if len(self._leases) < self._terms.max_workers:
            return
        idle = next((one for one in self._leases.values() if one.worker not in self._holders), None)
        if idle is None:
            raise TooManyWorkersError
        self._count(idle, -1)
        del self._leases[idle.worker]
        self._stored += idle.stored
        self._forgotten.used += idle.spent - idle.stored
        self._unwritten.discard(idle.worker)
        self._unwritten.add("")
        self._unneeded.add(idle.worker)

    def _count(self, lease: Lease, sign: int) -> None:
        """Add a lease to the sums, or take it out."""
        self._spent += sign * lease.spent
        self._committed += sign * lease.committed

    def _place(self, lease: Lease) -> None:
        """Make a lease the last one of whoever has it."""
        self._leases.pop(lease.worker, None)
        self._leases[lease.worker] = lease
        self._holders.pop(lease.worker, None)
        if lease.granted > lease.used:
            self._holders[lease.worker] = lease


def _row(lease: LeaseRow) -> LeaseRow:
    fields = {name: getattr(lease, name) for name in LeaseRow.__struct_fields__}
    return LeaseRow(**fields)
