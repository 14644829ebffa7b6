"""Budgets in the watched program: what counts into them, what is told and shown, who is stopped."""

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from tocsin.app.budget_metrics import event_labels, has_prices, line_readings
from tocsin.app.budget_storage import BudgetStorage
from tocsin.app.tariff import Tariff
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import ConfigError
from tocsin.guard.account import Ledger
from tocsin.guard.budget_account import BudgetAccount, BudgetRoom, OwnRoom
from tocsin.guard.budget_book import BudgetBook
from tocsin.guard.budget_events import BudgetEvent, alerts, early_warning, stopped
from tocsin.guard.budgets import NO_TAGS, Budget, Work, check_budgets
from tocsin.guard.purse import Purse
from tocsin.guard.timeline import Outlook
from tocsin.meters import catalogue as m
from tocsin.meters.clients import SilentObserver
from tocsin.meters.registry import Readings
from tocsin.model.label import clean_tag
from tocsin.model.span import ErrorClass, Kind, Observation

__all__ = ["Budgets", "open_budgets"]

logger = logging.getLogger(__name__)

STORE_EVERY_S: Final = 1.0
"""What a killed process may lose, beside what waits in its queue."""
LOOK_AHEAD_EVERY_S: Final = 10.0
MAX_REPORTS: Final = 100_000
CUT_OFF: Final = (None, ErrorClass.CANCELLED)
"""Errors of calls that used tokens, whether they reported them or not."""


_open: "list[Budgets]" = []


def open_budgets() -> "Budgets | None":
    """Those that were opened last in this process, for code that no watcher knows of."""
    return _open[-1] if _open else None


class Budgets(SilentObserver):
    """Keeps budgets: hears of calls on the worker's thread, gives runs their accounts on any.

    Spend is told by spans, which come within a tenth of a second; what calls in guarded runs use
    is in their accounts at once, so that limits hold between two looks at the spans.
    """

    sink = "budgets"

    def __init__(
        self,
        tariff: Tariff,
        ledger: Ledger,
        send: Callable[[BudgetEvent], None],
        *,
        is_shared: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """send: takes what is worth telling, on the worker's thread. is_shared: other processes
        show the same page of metrics, of which one shows what is in the file.
        """
        self.book = BudgetBook()
        self._is_shared = is_shared
        self._storage = BudgetStorage()
        self._tariff = tariff
        self._ledger = ledger
        self._send = send
        self._clock = clock
        self._accounts: dict[str, BudgetAccount] = {}
        self.tag_names: frozenset[str] = frozenset()
        """Tags that budgets are told apart by."""
        self._without_price: set[str] = set()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._reports: deque[tuple[Work, Decimal | None, int]] = deque(maxlen=MAX_REPORTS)
        self._refused: deque[str] = deque(maxlen=MAX_REPORTS)
        self._changed: set[str] = set()
        self._unpriced: Counter[str] = Counter()
        self._told: Counter[tuple[str, str]] = Counter()
        self._outlooks: dict[str, dict[str, Outlook]] = {}
        self._store_at_s = self._look_ahead_at_s = 0.0

    def add(
        self,
        budgets: Sequence[Budget],
        rooms: Mapping[str, BudgetRoom] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Keep budgets from now on; raises ConfigError for what is none.

        rooms: for those that are shared through a server, what it grants, by their names. file:
        where what is spent is kept, of these and of all that are added later.
        """
        check_budgets(budgets)
        if file is not None:
            if self.book.lines:
                raise ConfigError("budget_file: write it where the first budgets are added")
            self._storage = BudgetStorage(Path(file))
        with self._lock:
            self._store()
            self._open(budgets)
            accounts = {budget.name: self._account(budget, rooms or {}) for budget in budgets}
            kept = {name: one for name, one in self._accounts.items() if name not in accounts}
            new = {name: one for name, one in accounts.items() if one is not None}
            self._accounts = kept | new
            self.tag_names = self.tag_names.union(*(budget.tags for budget in budgets))
            self._store(anew=True)
            self._changed |= {budget.name for budget in budgets}
            self._compare()
            if self not in _open:
                _open.append(self)
        for budget in budgets:
            self._without_price.discard(budget.name)
            if not has_prices(budget, self._tariff):
                self._without_price.add(budget.name)

    @property
    def is_open(self) -> bool:
        """Whether there are any."""
        return bool(self.book.lines)

    @property
    def is_closed(self) -> bool:
        """Whether one of them stops calls where Tocsin fails."""
        return any(one.budget.on_failure == "closed" for one in list(self._accounts.values()))

    def purse(self, workflow: str, tags: Mapping[str, str] | None) -> Purse | None:
        """Budgets as a run sees them, empty where none of them may stop it; None without any."""
        if not self.book.lines:
            return None
        accounts, given = list(self._accounts.values()), tags or NO_TAGS
        known = {name: tag for name in self.tag_names if (tag := clean_tag(given.get(name)))}
        return Purse(accounts, self, workflow=workflow, tags=known)

    def report(self, work: Work, usd: Decimal | None) -> None:
        """Note a call that no span tells of."""
        self._reports.append((work, usd, self._clock.wall_ns()))

    def refused(self, budget: str) -> None:
        """Note that a call was refused for lack of room in a budget."""
        self._refused.append(budget)

    def span_ended(self, observation: Observation) -> None:
        """Count an LLM call into every budget that covers it."""
        span = observation.span
        if span.kind is not Kind.LLM or (span.usage is None and span.error not in CUT_OFF):
            return
        tags = observation.tags or NO_TAGS
        work = Work(observation.workflow, span.model, observation.agent, tags)
        usd = None if observation.cost is None else observation.cost.total
        with self._lock:
            self._add(work, usd, span.ended_ns, is_guarded=observation.is_guarded)

    def hurry(self) -> None:
        """Store with the next tick."""
        self._store_at_s = 0.0

    def tick(self) -> None:
        """Store, compare and tell what has changed."""
        if not self.book.lines:
            return
        with self._lock:
            while self._reports:
                self._add(*self._reports.popleft(), is_guarded=True)
            if time.monotonic() >= self._store_at_s:
                self._store_at_s = time.monotonic() + STORE_EVERY_S
                self._store()
            self._compare()
            self._tell()

    def readings(self) -> Readings:
        """Metrics of every budget."""
        with self._lock:
            is_shown = self._storage.shows(is_shared=self._is_shared)
            now_ns, found = self._clock.wall_ns(), Readings()
            for name, line in self.book.lines.items():
                outlooks = self._outlooks.get(name, {})
                found |= line_readings(line, outlooks, now_ns, is_shown=is_shown)
                found[m.BUDGET_UNPRICED, (name,)] = self._unpriced[name]
                found[m.BUDGET_WITHOUT_PRICE, (name,)] = name in self._without_price
            found |= {(m.BUDGET_EVENTS, labels): count for labels, count in self._told.items()}
            if self._storage.is_on:
                failures = self._storage.failures
                found |= {(m.BUDGET_FILE_ERRORS, (why,)): n for why, n in failures.items()}
            return found

    def close(self) -> None:
        """Store what is left, and let go of the file."""
        self.hurry()
        self.tick()
        with self._lock:
            self._storage.close()
            if self in _open:
                _open.remove(self)

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child: what the parent has spent is the parent's to store."""
        self._reset()
        self._storage.reset_after_fork()
        budgets = [line.budget for line in self.book.lines.values()]
        self.book.lines.clear()
        self._open(budgets)
        self._accounts = {
            name: BudgetAccount(account.budget, account.room, self._clock)
            for name, account in self._accounts.items()
        }

    def _open(self, budgets: Sequence[Budget]) -> None:
        self.book.open(budgets, self._clock.wall_ns())
        for budget in budgets:
            for labels in event_labels(budget):
                self._told.setdefault(labels, 0)

    def _account(self, budget: Budget, rooms: Mapping[str, BudgetRoom]) -> BudgetAccount | None:
        """Make a budget's account, or change the one that it has; None where nothing is stopped."""
        if budget.stop_usd is None:
            return None
        room = rooms.get(budget.name)
        if room is None:
            room = OwnRoom(budget.stop_usd)
            room.is_blind = self._storage.is_blind and budget.on_failure == "closed"
        account = self._accounts.get(budget.name)
        if account is None or not account.budget.counts_like(budget):
            return BudgetAccount(budget, room, self._clock)
        with self._ledger.lock:
            account.budget, account.room = budget, room
        return account

    def _add(self, work: Work, usd: Decimal | None, at_ns: int, *, is_guarded: bool) -> None:
        for line in self.book.add(work, usd, at_ns, is_guarded=is_guarded):
            self._changed.add(line.budget.name)
            self._unpriced[line.budget.name] += usd is None

    def _store(self, *, anew: bool = False) -> None:
        """Write and read the file; it may say that others have spent something."""
        if self._storage.sync(self.book.lines, self._clock.wall_ns(), anew=anew):
            self._changed |= self.book.lines.keys()

    def _compare(self) -> None:
        """Tell accounts what spans, and the file, have told of their budgets."""
        now_ns = self._clock.wall_ns()
        for name in self._changed & self._accounts.keys():
            line, account = self.book.lines[name], self._accounts[name]
            period = line.calendar.period(now_ns)
            with self._ledger.lock:
                if isinstance(account.room, OwnRoom) and not self._storage.is_blind:
                    account.room.others_spent(period, line.others(period).usd)
                account.heard(period, line.unguarded_usd(period))

    def _tell(self) -> None:
        now_ns = self._clock.wall_ns()
        changed, self._changed = self._changed, set()
        for name in changed:
            self._announce(alerts(self.book.lines[name], now_ns))
        while self._refused:
            event = stopped(self.book.lines[self._refused.popleft()], now_ns)
            self._announce([] if event is None else [event])
        if time.monotonic() >= self._look_ahead_at_s:
            self._look_ahead_at_s = time.monotonic() + LOOK_AHEAD_EVERY_S
            for name, line in self.book.lines.items():
                self._outlooks[name] = line.outlooks(now_ns)
                warning = early_warning(line, now_ns)
                self._announce([] if warning is None else [warning])

    def _announce(self, events: Sequence[BudgetEvent]) -> None:
        for event in events:
            self.book.lines[event.budget].tell(event.period, [event.key])
            if self._storage.claim(event):
                self._told[event.budget, event.key] += 1
                logger.warning("%s", event.message)
                self._send(event)
