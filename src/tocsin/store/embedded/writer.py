"""One batch, one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from tocsin.store.base import Batch, Receipt, StoredRun, StoredSpan
from tocsin.store.embedded.budgets import add_charges, sane
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.database import Database
from tocsin.store.embedded.labels import Labels, key_of_run, key_of_span
from tocsin.store.embedded.relation import Relation
from tocsin.store.embedded.rollup import roll_up
from tocsin.store.embedded.rows import (
    RUN_VALUES,
    SPAN_VALUES,
    runs_table,
    spans_table,
    times_table,
)
from tocsin.store.embedded.schema import RUN_COLUMNS

__all__ = ["Writer"]

ROLL_UP_EVERY: Final = 50_000
GAP_NS: Final = 300_000_000_000
"""Spans further apart than this are looked for as duplicates in separate stretches of time."""
MAX_STRETCHES: Final = 6

Identity = tuple[str, str, str]
"""Trace, span and kind: a run's rollup that stands in for an LLM call shares its root's id."""
Extents = dict[str, tuple[int, int]]
"""Run id -> between which times those of its spans began that are at hand."""


class Writer:
    """Stores batches in one database."""

    def __init__(self, database: Database, labels: Labels) -> None:
        self._database = database
        self._directory = database.spans_directory
        self._labels = labels

    def commit(self, batch: Batch) -> Receipt | None:
        """Store a batch wholly or not at all; None, and nothing, where it was stored before."""
        try:
            return self._database.write(lambda cursor: self._write(cursor, batch))
        except BaseException:
            self._labels.forget()
            raise

    def _write(self, cursor: Cursor, batch: Batch) -> Receipt | None:
        position, rolled_seq, last_seq = _state(cursor)
        if batch.position is not None and batch.position <= position:
            return None
        spans: list[StoredSpan] = []
        if batch.spans:
            spans = self._without_known(cursor, _unique(batch.spans))
        if spans:
            self._insert_spans(cursor, spans, last_seq + 1)
            last_seq += len(spans)
        charges = [sane(charge) for stored in spans for charge in stored.charges]
        if charges:
            add_charges(cursor, charges)
        if batch.runs:
            self._upsert_runs(cursor, batch.runs, _extents(batch.spans))
        cursor.execute(
            "UPDATE state SET position = ?, last_seq = ?", [batch.position or position, last_seq]
        )
        if last_seq - rolled_seq >= ROLL_UP_EVERY:
            roll_up(cursor, last_seq)
        return Receipt(charges=charges, seq=last_seq)

    def _insert_spans(self, cursor: Cursor, spans: Sequence[StoredSpan], seq: int) -> None:
        labels = self._labels.assign(cursor, list(map(key_of_span, spans)))
        cursor.register("batch", spans_table(spans, labels, seq))
        cursor.execute(f"INSERT INTO spans SELECT {SPAN_VALUES} FROM batch")
        cursor.unregister("batch")

    def _without_known(self, cursor: Cursor, spans: dict[Identity, StoredSpan]) -> list[StoredSpan]:
        """Leave out spans that are stored already."""
        times_ns = sorted(stored.span.started_ns for stored in spans.values())
        stretches = list(_stretches(times_ns))

        def stored(columns: Sequence[str], where: str) -> str:
            return " UNION ALL ".join(
                Relation.between(cursor, self._directory, first, last).select(
                    columns, f"started_ns BETWEEN {first} AND {last} AND {where}"
                )
                for first, last in stretches
            )

        # Times alone are read fast, and nearly always nothing began at the same nanosecond.
        cursor.register("batch", times_table(times_ns))
        query = "WITH moments AS MATERIALIZED (FROM batch) "  # DuckDB 1 scans a batch only once
        query += stored(["started_ns"], "started_ns IN (FROM moments)")
        moments = cursor.execute(query).fetchall()
        cursor.unregister("batch")
        if not moments:
            return list(spans.values())
        query = stored(["trace_id", "span_id", "kind"], "list_contains($moments, started_ns)")
        values = {"moments": list({row[0] for row in moments})}
        for identity in cursor.execute(query, values).fetchall():
            spans.pop(identity, None)
        return list(spans.values())

    def _upsert_runs(self, cursor: Cursor, runs: Iterable[StoredRun], extents: Extents) -> None:
        latest = {stored.run.run_id: stored for stored in runs}.values()
        labels = self._labels.assign(cursor, list(map(key_of_run, latest)))
        rows = [
            (stored, *_extent(stored, extents), label)
            for stored, label in zip(latest, labels, strict=True)
        ]
        cursor.register("batch", runs_table(rows))
        cursor.execute(UPSERT)
        cursor.unregister("batch")


def _state(cursor: Cursor) -> tuple[int, int, int]:
    row = first_row(cursor, "SELECT position, rolled_seq, last_seq FROM state")
    assert row is not None
    return row[0], row[1], row[2]


def _unique(spans: Iterable[StoredSpan]) -> dict[Identity, StoredSpan]:
    unique: dict[Identity, StoredSpan] = {}
    for stored in spans:
        span = stored.span
        unique.setdefault((span.trace_id, span.span_id, span.kind), stored)
    return unique


def _stretches(times_ns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut ascending times at the widest gaps: a duplicate began at the very same time."""
    if times_ns[-1] - times_ns[0] <= GAP_NS:
        yield times_ns[0], times_ns[-1]
        return
    gaps = sorted(((b - a, i) for i, (a, b) in enumerate(pairwise(times_ns), 1)), reverse=True)
    cuts = sorted(i for gap_ns, i in gaps[: MAX_STRETCHES - 1] if gap_ns > GAP_NS)
    for first, end in pairwise((0, *cuts, len(times_ns))):
        yield times_ns[first], times_ns[end - 1]


def _extents(spans: Iterable[StoredSpan]) -> Extents:
    times_ns: defaultdict[str, list[int]] = defaultdict(list)
    for stored in spans:
        if stored.run_id is not None:
            times_ns[stored.run_id].append(stored.span.started_ns)
    return {run_id: (min(times), max(times)) for run_id, times in times_ns.items()}


def _extent(stored: StoredRun, extents: Extents) -> tuple[int, int]:
    run = stored.run
    first, last = extents.get(run.run_id, (run.started_ns, run.started_ns))
    return min(first, run.started_ns), max(last, run.ended_ns or run.started_ns)


def _update(name: str) -> str:
    wider = {"first_ns": "least", "last_ns": "greatest"}.get(name)
    return (
        f"{name} = {wider}(runs.{name}, excluded.{name})"
        if wider
        else (f"{name} = excluded.{name}")
    )


UPSERT: Final = (
    f"INSERT INTO runs SELECT {RUN_VALUES} FROM batch ON CONFLICT (run_id) DO UPDATE SET "
    + ", ".join(_update(column.name) for column in RUN_COLUMNS if column.name != "run_id")
    + ", label = excluded.label"
)
