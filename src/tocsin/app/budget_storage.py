"""Keeps a book of budgets and its file in step, and goes on without the file where it fails."""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tocsin.app.budget_file import BudgetFile, reason
from tocsin.errors import StoreError
from tocsin.guard.budget_book import BudgetLine
from tocsin.guard.budget_events import BudgetEvent

__all__ = ["BudgetStorage"]

logger = logging.getLogger(__name__)

NS_PER_S: Final = 1_000_000_000
SLOTS_EVERY_S: Final = 60.0
"""What others spent when, which only forecasts need, is looked at less often than how much."""
SLOTS_KEPT_S: Final = 2 * 86_400
ADVICE: Final = {
    "locked": "is locked by another program; what is spent is written later",
    "damaged": "is damaged; move it away, and a new one is begun with what is spent from now on",
    "unavailable": "cannot be used; what is spent is kept in memory only",
}
FAILURES: Final = (sqlite3.Error, OSError, StoreError)


class BudgetStorage:
    """Writes what this process has spent, and reads what others have; the worker calls it.

    Failures are logged, each kind once until it is over, and counted; nothing is raised, and what
    could not be written stays in the book. Without a path, there is nothing to do.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.failures = Counter(dict.fromkeys(ADVICE, 0))
        self._file = None if path is None else BudgetFile(path)
        self.is_blind = path is not None
        """There is a file, and it was never read."""
        self._warned: set[str] = set()
        self._slots_at_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def sync(self, lines: Mapping[str, BudgetLine], now_ns: int, *, anew: bool = False) -> bool:
        """Write and read; True where lines know more of others than before.

        anew: read even if nobody has written, because there are new lines.
        """
        if self._file is None:
            for line in lines.values():
                line.unwritten.clear()
            return False
        try:
            has_news = self._write_and_read(self._file, lines, now_ns, anew=anew)
        except FAILURES as error:
            self._failed(error)
            return False
        self.is_blind = False
        self._warned.clear()
        return has_news

    def claim(self, event: BudgetEvent) -> bool:
        """Whether this process is the one to tell of an event; where nobody knows, it is."""
        if self._file is None:
            return True
        try:
            return self._file.claim(event)
        except FAILURES as error:
            self._failed(error)
            return True

    def shows(self, *, is_shared: bool) -> bool:
        """Whether this process shows what was spent, where several share a page of metrics."""
        return self._file is None or not is_shared or self._file.is_first()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.leave()

    def reset_after_fork(self) -> None:
        """Leave the parent's connection alone."""
        self.failures = Counter(dict.fromkeys(ADVICE, 0))
        self._slots_at_s = 0.0
        self.is_blind = self._file is not None
        if self._file is not None:
            self._file.reset_after_fork()

    def _write_and_read(
        self, file: BudgetFile, lines: Mapping[str, BudgetLine], now_ns: int, *, anew: bool
    ) -> bool:
        unwritten = {name: line.unwritten for name, line in lines.items() if line.unwritten}
        if unwritten:
            file.add(unwritten)
            for line in lines.values():
                line.unwritten.clear()
        if not file.has_changed() and not anew:
            return False
        for name, line in lines.items():
            for period in line.recent(now_ns):
                line.stored(period, file.total(name, period))
                line.tell(period, file.told(name, period))
        if anew or time.monotonic() >= self._slots_at_s:
            self._slots_at_s = time.monotonic() + SLOTS_EVERY_S
            self._read_slots(file, lines, now_ns)
        return True

    def _read_slots(self, file: BudgetFile, lines: Mapping[str, BudgetLine], now_ns: int) -> None:
        since_s = now_ns // NS_PER_S - SLOTS_KEPT_S
        for name, line in lines.items():
            first = file.first_slot(name)
            since_ns = line.timeline.since_ns if first is None else first * NS_PER_S
            line.timeline.replace(file.slots(name, since_s), min(since_ns, line.timeline.since_ns))

    def _failed(self, error: Exception) -> None:
        why = reason(error)
        self.failures[why] += 1
        if self._file is not None:
            self._file.close()
            if why not in self._warned:
                self._warned.add(why)
                logger.warning("budgets: %s %s: %s", self._file.path, ADVICE[why], error)
