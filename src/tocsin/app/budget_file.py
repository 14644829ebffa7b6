"""What was spent of budgets, in an SQLite file: for the next process, and for those beside this."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final

from tocsin.app.shared import open_locked
from tocsin.errors import StoreError
from tocsin.guard.budget_book import Spent
from tocsin.guard.budget_events import BudgetEvent
from tocsin.guard.periods import Period

__all__ = ["BudgetFile", "reason"]

VERSION: Final = 1
NS_PER_S: Final = 1_000_000_000
UNITS: Final = 10**10
"""Per dollar: exact for prices of four decimals per million tokens, and sums to $900 million."""
PATIENCE_S: Final = 0.5
KEPT_S: Final = 100 * 86_400
"""More than two months, of which the current and the last one can be asked for."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS spend (
    budget TEXT, slot INTEGER, units INTEGER, priced INTEGER, unpriced INTEGER,
    PRIMARY KEY (budget, slot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    budget TEXT, period INTEGER, key TEXT, PRIMARY KEY (budget, period, key)
) WITHOUT ROWID;
"""
ADD: Final = """
INSERT INTO spend VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    units = units + excluded.units,
    priced = priced + excluded.priced,
    unpriced = unpriced + excluded.unpriced
"""
TOTAL: Final = """
SELECT coalesce(sum(units), 0), coalesce(sum(priced), 0), coalesce(sum(unpriced), 0)
FROM spend WHERE budget = ? AND slot >= ? AND slot < ?
"""

_inherited: list[sqlite3.Connection] = []
"""Connections of the process that forked this one: SQLite forbids even to close them here."""


class BudgetFile:
    """Adds up what processes have spent, by budget and slot of time.

    Every method may raise sqlite3.Error, OSError or StoreError; the next call opens the file anew.
    What was written survives the process, however it ends. One thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._lock: int | None = None

    def add(self, spent: Mapping[str, Mapping[int, Spent]]) -> None:
        """Add what was spent since the last time: budget -> second in which a slot begins."""
        rows = [
            (budget, slot, round(found.usd * UNITS), found.priced, found.unpriced)
            for budget, slots in spent.items()
            for slot, found in slots.items()
        ]
        with self._transaction() as connection:
            connection.executemany(ADD, rows)

    def has_changed(self) -> bool:
        """Whether somebody else has written since this was last asked; at first, yes."""
        before, self._version = (
            self._version,
            self._opened().execute("PRAGMA data_version").fetchone()[0],
        )
        return before != self._version

    def total(self, budget: str, period: Period) -> Spent:
        """What all processes have spent in a period."""
        bounds = period.start_ns // NS_PER_S, period.end_ns // NS_PER_S
        units, priced, unpriced = self._opened().execute(TOTAL, (budget, *bounds)).fetchone()
        return Spent(Decimal(units) / UNITS, priced, unpriced)

    def slots(self, budget: str, since_s: int) -> dict[int, Decimal]:
        """USD by slot, from a second on."""
        rows = self._opened().execute(
            "SELECT slot, units FROM spend WHERE budget = ? AND slot >= ?", (budget, since_s)
        )
        return {slot: Decimal(units) / UNITS for slot, units in rows}

    def first_slot(self, budget: str) -> int | None:
        """Second in which the oldest slot begins; None where there is none."""
        row = self._opened().execute("SELECT min(slot) FROM spend WHERE budget = ?", (budget,))
        found: int | None = row.fetchone()[0]
        return found

    def told(self, budget: str, period: Period) -> set[str]:
        """Keys of the events of a period that some process has told."""
        rows = self._opened().execute(
            "SELECT key FROM told WHERE budget = ? AND period = ?", (budget, period.start_ns)
        )
        return {key for (key,) in rows}

    def claim(self, event: BudgetEvent) -> bool:
        """Note that an event is told; False where some process was first."""
        with self._transaction() as connection:
            found = connection.execute(
                "INSERT OR IGNORE INTO told VALUES (?, ?, ?)",
                (event.budget, event.period.start_ns, event.key),
            )
            return found.rowcount > 0

    def is_first(self) -> bool:
        """Whether this process is the one, of those that have the file open, which shows it."""
        if self._lock is None:
            try:
                self._lock = open_locked(self.path.with_name(self.path.name + ".lock"))
            except BlockingIOError:
                return False
            except OSError:
                return True  # twice is better than not at all
        return True

    def close(self) -> None:
        """Let go of the file; the next call would open it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._version = -1

    def leave(self) -> None:
        """Close, and let another process show the file."""
        self.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def reset_after_fork(self) -> None:
        """Leave the parent its connection and its lock."""
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        self.leave()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(f"{self.path} was written by a newer Tocsin (format {version})")
        connection.execute("PRAGMA journal_mode = WAL")
        # A write is on its way to the disk, and survives this process; only a power cut may take
        # the last ones.
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            connection.executescript(
                f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={VERSION}; COMMIT"
            )
        oldest_s = int(time.time()) - KEPT_S
        connection.execute("DELETE FROM spend WHERE slot < ?", (oldest_s,))
        connection.execute("DELETE FROM told WHERE period < ?", (oldest_s * NS_PER_S,))


def reason(error: Exception) -> str:
    """Why the file cannot be used: locked, damaged or unavailable."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "locked"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "damaged"
    return "unavailable"
