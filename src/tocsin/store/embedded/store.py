"""DuckDB in a data directory: today in a table, past days in Parquet files."""

import copy
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from tocsin.model.lease import LeaseChange, LeaseRow
from tocsin.store.base import (
    EVERYTHING,
    Batch,
    Conversation,
    ErrorCount,
    GroupBy,
    Latency,
    Receipt,
    RunPage,
    RunQuery,
    RunView,
    Scope,
    Sealed,
    StoredSpan,
    UsageSum,
    Window,
)
from tocsin.store.charges import Spending
from tocsin.store.embedded import budgets, levels, run_queries, trends
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.database import Database
from tocsin.store.embedded.labels import Labels
from tocsin.store.embedded.sealing import Sealer
from tocsin.store.embedded.writer import Writer
from tocsin.store.level_counts import LevelCount, LevelQuery
from tocsin.store.redaction import Redactor

__all__ = ["EmbeddedStore"]

Answer = TypeVar("Answer")


class EmbeddedStore:
    """A `SpanStore` for one process; see there for what the methods promise.

    directory: made if need be, for this user only. retention_days: full days (UTC) kept besides
    today; None keeps all. content: what to make of prompts and completions; None drops them.
    memory_mb: what DuckDB may take. Raises StoreError where another process has the directory, or
    a newer program wrote it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        retention_days: int | None = 30,
        content: Redactor | None = None,
        read_only: bool = False,
        memory_mb: int = 1024,
    ) -> None:
        self._database = Database(directory, read_only=read_only, memory_mb=memory_mb)
        self._files = self._database.spans_directory
        labels = Labels()
        self._writer = Writer(self._database, labels)
        self._sealer = Sealer(self._database, labels, retention_days)
        self._content = content
        self._timeout_s: float | None = None

    def patient_for(self, seconds: float) -> Self:
        """Return the same store, whose reads raise StoreError once they take longer than that."""
        store = copy.copy(self)
        store._timeout_s = seconds
        return store

    def commit(self, batch: Batch) -> Receipt | None:
        """Store a batch wholly and durably, or not at all; None for one committed before."""
        if any(stored.content for stored in batch.spans):
            spans = [self._permitted(stored) for stored in batch.spans]
            batch = msgspec.structs.replace(batch, spans=spans)
        return self._writer.commit(batch)

    def position(self) -> int:
        """Tell the last committed journal position; 0 before the first."""
        return self._read(_position)

    def unfinished(self, since_ns: int) -> list[StoredSpan]:
        """Read the spans begun since then whose run is not finished, in the order they ended."""
        return self._read(lambda cursor: run_queries.unfinished(cursor, self._files, since_ns))

    def of_traces(self, trace_ids: Sequence[str], since_ns: int) -> list[StoredSpan]:
        """Read the spans of some traces that began since then."""
        return self._read(
            lambda cursor: run_queries.of_traces(cursor, self._files, trace_ids, since_ns)
        )

    def spending(self, budget: str, period_ns: int) -> tuple[int, list[Spending]]:
        """Read what was charged in the period that begins then, by worker."""
        return self._read(lambda cursor: budgets.spending(cursor, budget, period_ns))

    def timeline(self, start_s: int) -> dict[str, dict[int, Decimal]]:
        """Read when money was spent since then: budget -> slot -> USD."""
        return self._read(lambda cursor: budgets.timeline(cursor, start_s))

    def leases(self, budget: str, period_ns: int) -> list[LeaseRow]:
        """Read the leases of a budget in the period that begins then."""
        return self._read(lambda cursor: budgets.leases(cursor, budget, period_ns))

    def write_leases(
        self, changes: Sequence[LeaseChange], spent: Mapping[tuple[str, int], Decimal]
    ) -> None:
        """Write leases, all or none of them; durable when this returns."""
        self._database.write(lambda cursor: budgets.write_leases(cursor, changes, spent))

    def seal(self, now_ns: int) -> Sealed:
        """Move past days (UTC) into files and drop those beyond retention."""
        budgets.drop_old(self._database, now_ns)
        return self._sealer.seal(now_ns)

    def run(self, run_id: str) -> RunView | None:
        """Read one run with its spans."""
        return self._read(lambda cursor: run_queries.run_view(cursor, self._files, run_id))

    def run_ids(self, start: str, end: str = "", *, limit: int) -> list[str]:
        """List ids of runs that begin and end so, in alphabetical order."""
        return self._read(lambda cursor: run_queries.run_ids(cursor, start, end, limit))

    def runs(self, query: RunQuery) -> RunPage:
        """Read a page of runs."""
        return self._read(lambda cursor: run_queries.run_page(cursor, query))

    def conversation(self, conversation_id: str, *, limit: int = 200) -> Conversation | None:
        """Read the runs of a conversation; None where there is none."""
        return self._read(lambda cursor: run_queries.conversation(cursor, conversation_id, limit))

    def latency(self, by: GroupBy, window: Window, scope: Scope = EVERYTHING) -> list[Latency]:
        """Compare durations, by group and step."""
        return self._read(lambda cursor: trends.latency(cursor, self._files, by, window, scope))

    def errors(self, by: GroupBy, window: Window, scope: Scope = EVERYTHING) -> list[ErrorCount]:
        """Compare failures, by group and step."""
        return self._read(lambda cursor: trends.errors(cursor, self._files, by, window, scope))

    def usage(self, by: GroupBy, window: Window, scope: Scope = EVERYTHING) -> list[UsageSum]:
        """Compare tokens and dollars, by group and step."""
        return self._read(lambda cursor: trends.usage(cursor, self._files, by, window, scope))

    def count_levels(self, query: LevelQuery) -> list[LevelCount]:
        """Count the runs that kept to a service level, by workflow, limit and start."""
        return self._read(lambda cursor: levels.count_levels(cursor, self._files, query))

    def close(self) -> None:
        """Finish what is going on and let go of the data directory."""
        self._database.close()

    def _read(self, question: Callable[[Cursor], Answer]) -> Answer:
        return self._database.read(question, self._timeout_s)

    def _permitted(self, stored: StoredSpan) -> StoredSpan:
        if not stored.content:
            return stored
        content = self._content.redact(stored.content) if self._content else {}
        return msgspec.structs.replace(stored, content=content)


def _position(cursor: Cursor) -> int:
    row = first_row(cursor, "SELECT position FROM state")
    return row[0] if row else 0
