"""Keeps the budgets of a server: what is spent, what is leased, what is told about them."""

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import QueryError, StoreError
from tocsin.guard.budget_book import BudgetLine, Spent
from tocsin.guard.budget_events import BudgetEvent, alert_key, alerts, early_warning
from tocsin.guard.budgets import Budget
from tocsin.guard.leases import TERMS, Claim, Grant, LeaseBook, Terms
from tocsin.guard.periods import Period
from tocsin.guard.timeline import Outlook
from tocsin.guard.wire import BudgetDocument
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Readings
from tocsin.model.lease import LeaseChange
from tocsin.store.base import Receipt
from tocsin.store.charges import BudgetStore, Charge

__all__ = ["BudgetDesk"]

logger = logging.getLogger(__name__)

NS_PER_S: Final = 1_000_000_000
MAX_BOOKS: Final = 500
"""Periods in memory, of all budgets; others are read again when somebody asks."""
SKEW_NS: Final = 60 * NS_PER_S
"""By how much a worker's clock may be off for it to get a lease."""
LATE_NS: Final = 45 * 86_400 * NS_PER_S
"""How long after its beginning a period can be reported on."""
TIMELINE_S: Final = 2 * 86_400
LOOK_AHEAD_EVERY_NS: Final = 10 * NS_PER_S
ESTIMATES: Final = ("pace", "yesterday")


class Page(msgspec.Struct):
    """A budget's period: its leases, and how many calls its spending consists of."""

    period: Period
    book: LeaseBook
    seq: int = 0
    """Up to which batch what is stored was read, when it was read last."""
    priced: int = 0
    unpriced: int = 0

    def spent(self) -> Spent:
        """What was spent; what workers report has a price."""
        usd = self.book.spent
        return Spent(usd, max(self.priced, usd > 0), self.unpriced)


class BudgetDesk:
    """Thread-safe, but that only one thread at a time may `lease`.

    Nothing is granted before it is on disk. Raises StoreError where the disk refuses; then what was
    to be granted stays set aside, until it is.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        store: BudgetStore,
        *,
        clock: Clock = SYSTEM_CLOCK,
        terms: Terms = TERMS,
    ) -> None:
        self.terms = terms
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        now_ns = clock.wall_ns()
        self.lines = {budget.name: BudgetLine(budget, now_ns) for budget in budgets}
        self._unwritten: defaultdict[tuple[str, int], Decimal] = defaultdict(Decimal)
        """By budget and slot, what workers have spent and no timeline on disk has."""
        self._pages: OrderedDict[tuple[str, int], Page] = OrderedDict()
        self._told: defaultdict[tuple[str, str], int] = defaultdict(int)
        """How often what was told, by budget and event."""
        for budget in budgets:
            keys = [*(alert_key(Decimal(share)) for share in budget.alert_at), "forecast"]
            self._told |= dict.fromkeys(((budget.name, key) for key in keys), 0)
        self._unpriced: defaultdict[str, int] = defaultdict(int)
        self._outlooks: dict[str, dict[str, Outlook]] = {}
        self._look_ahead_at_ns = 0
        with self._lock:
            self._load(now_ns)

    def charged(self, receipt: Receipt) -> None:
        """Add what was committed. Raises StoreError."""
        with self._lock:
            for charge in receipt.charges:
                line = self.lines[charge.budget]
                page = self._page(line, line.calendar.period(charge.period_ns))
                if receipt.seq > page.seq:  # else it was read with the charge in it
                    self._charge(line, page, charge)
            self._look()

    def reload(self) -> None:
        """Read again what is stored. Raises StoreError."""
        with self._lock:
            self._load(self._clock.wall_ns())
            for (name, _), page in self._pages.items():
                self._read_spending(name, page)
            self._look()

    def lease(self, claims: Sequence[Claim]) -> list[Grant]:
        """Answer claims once what is granted is on disk.

        Raises QueryError for claims that make no sense, TooManyWorkersError, and StoreError.
        """
        for claim in claims:
            self.check(claim)
        with self._lock:
            grants = [self._lease(claim) for claim in claims]
            changes = self._take_changes()
            spent, self._unwritten = self._unwritten, defaultdict(Decimal)
            self._look()
        if changes:
            try:
                self._store.write_leases(changes, spent)
            except StoreError:
                with self._lock:
                    self._put_back(changes)
                raise
        return grants

    def check(self, claim: Claim) -> None:
        """Raise QueryError unless a claim is about a budget and a period that there are."""
        line = self.lines.get(claim.budget)
        if line is None:
            known = ", ".join(self.lines) or "none"
            raise QueryError(f"there is no budget {claim.budget[:60]!r}; there are {known}")
        now_ns = self._clock.wall_ns()
        period = line.calendar.period(claim.period_ns)
        if period.start_ns != claim.period_ns:
            raise QueryError(f"no {line.budget.per} of budget {claim.budget!r} begins then")
        if not now_ns - LATE_NS < claim.period_ns < now_ns + SKEW_NS:
            raise QueryError(f"budget {claim.budget!r}: that {line.budget.per} is not now")

    def documents(self) -> list[BudgetDocument]:
        """Describe every budget in its current period. Raises StoreError."""
        with self._lock:
            now_ns, mono_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
            found = []
            for line in self.lines.values():
                page = self._page(line, line.calendar.period(now_ns))
                page.book.expire(mono_ns)
                line.stored(page.period, page.spent())
                found.append(
                    BudgetDocument.of(
                        line, now_ns, leased_usd=page.book.leased, workers=page.book.workers
                    )
                )
            return found

    def readings(self) -> Readings:
        """Values of the budgets' metrics. Raises StoreError."""
        found: Readings = {}
        with self._lock:
            now_ns, mono_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
            self._look_ahead(now_ns, mono_ns)
            for name, line in self.lines.items():
                page = self._page(line, line.calendar.period(now_ns))
                page.book.expire(mono_ns)
                found[m.BUDGET_SPENT, (name,)] = page.spent().known_usd
                found[m.BUDGET_LIMIT, (name,)] = line.limit_usd
                found[m.BUDGET_LEASED, (name,)] = page.book.leased
                found[m.BUDGET_UNPRICED, (name,)] = self._unpriced[name]
                for estimate in ESTIMATES:
                    outlook = self._outlooks.get(name, {}).get(estimate)
                    total_usd = None if outlook is None else outlook.total_usd
                    found[m.BUDGET_FORECAST, (name, estimate)] = total_usd
            found |= {(m.BUDGET_EVENTS, labels): count for labels, count in self._told.items()}
        return found

    def _look_ahead(self, now_ns: int, mono_ns: int) -> None:
        """Say what periods will come to, and warn, now and then."""
        if mono_ns < self._look_ahead_at_ns:
            return
        self._look_ahead_at_ns = mono_ns + LOOK_AHEAD_EVERY_NS
        for name, line in self.lines.items():
            page = self._page(line, line.calendar.period(now_ns))
            line.stored(page.period, page.spent())
            self._outlooks[name] = line.outlooks(now_ns)
            warning = early_warning(line, now_ns)
            self._tell(line, [] if warning is None else [warning])

    def _charge(self, line: BudgetLine, page: Page, charge: Charge) -> None:
        before = page.book.spent
        page.priced += charge.usd is not None
        page.unpriced += charge.usd is None
        self._unpriced[charge.budget] += charge.usd is None
        page.book.add_stored(charge.worker, charge.usd or Decimal(0))
        spent_usd = page.book.spent - before
        line.timeline.add(spent_usd, charge.slot_s * NS_PER_S)
        if charge.worker and spent_usd:
            self._unwritten[charge.budget, charge.slot_s] += spent_usd

    def _lease(self, claim: Claim) -> Grant:
        line, now_ns = self.lines[claim.budget], self._clock.wall_ns()
        period = line.calendar.period(claim.period_ns)
        page, ask = self._page(line, period), claim.ask
        if not period.start_ns - SKEW_NS <= now_ns < period.end_ns + SKEW_NS:
            nothing = Decimal(0)
            ask = msgspec.structs.replace(ask, holds=ask.used, need=nothing, room=nothing)
        before = page.book.spent
        grant = page.book.ask(ask, self._clock.monotonic_ns())
        spent_usd = page.book.spent - before
        line.timeline.add(spent_usd, now_ns)
        if spent_usd:
            self._unwritten[claim.budget, line.timeline.slot_of(now_ns)] += spent_usd
        return grant

    def _look(self) -> None:
        """Tell what is to be told now."""
        now_ns = self._clock.wall_ns()
        for line in self.lines.values():
            page = self._pages.get(self._key(line, line.calendar.period(now_ns)))
            if page is None:
                continue
            line.stored(page.period, page.spent())
            self._tell(line, alerts(line, now_ns))

    def _tell(self, line: BudgetLine, events: Sequence[BudgetEvent]) -> None:
        for event in events:
            line.tell(event.period, [event.key])
            self._told[event.budget, event.key] += 1
            logger.warning("%s", event.message)

    def _load(self, now_ns: int) -> None:
        """Read when money was spent of late."""
        slots = self._store.timeline(now_ns // NS_PER_S - TIMELINE_S)
        for name, line in self.lines.items():
            if slots.get(name):
                line.timeline.replace(slots[name], min(slots[name]) * NS_PER_S)

    def _page(self, line: BudgetLine, period: Period) -> Page:
        key = self._key(line, period)
        page = self._pages.get(key)
        if page is None:
            book = LeaseBook(line.budget.stop_usd, self.terms)
            rows = self._store.leases(line.budget.name, period.start_ns)
            book.restore(rows, self._clock.monotonic_ns())
            page = Page(period, book)
            self._read_spending(line.budget.name, page)
            self._pages[key] = page
            self._forget_pages()
        self._pages.move_to_end(key)
        return page

    def _forget_pages(self) -> None:
        """Let go of what is longest unused, unless it has still to be written."""
        if len(self._pages) > MAX_BOOKS:
            for key, page in self._pages.items():
                if not page.book.has_changes and not page.book.leased:
                    del self._pages[key]
                    return

    def _read_spending(self, name: str, page: Page) -> None:
        page.seq, found = self._store.spending(name, page.period.start_ns)
        page.book.set_stored({one.worker: one.usd for one in found})
        page.priced = sum(one.priced for one in found)
        page.unpriced = sum(one.unpriced for one in found)

    def _take_changes(self) -> list[LeaseChange]:
        changes = []
        for (name, period_ns), page in self._pages.items():
            place = {"budget": name, "period_ns": period_ns}
            for row, is_gone in page.book.take_changes():
                changes.append(LeaseChange(**place, row=row, is_gone=is_gone))  # type: ignore[arg-type]
        return changes

    def _put_back(self, changes: Sequence[LeaseChange]) -> None:
        for change in changes:
            page = self._pages.get((change.budget, change.period_ns))
            if page is not None:
                page.book.put_back(change.row.worker, is_gone=change.is_gone)

    def _key(self, line: BudgetLine, period: Period) -> tuple[str, int]:
        return line.budget.name, period.start_ns
