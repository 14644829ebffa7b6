"""One batch, one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from duckdb import DuckDBPyConnection as Cursor

from tocsin.model.span import Kind
from tocsin.store.base import Batch, StoredRun, StoredSpan
from tocsin.store.embedded.relation import Relation
from tocsin.store.embedded.rollup import roll_up
from tocsin.store.embedded.rows import RUN_VALUES, SPAN_VALUES, runs_table, spans_table
from tocsin.store.embedded.schema import RUN_COLUMNS

__all__ = ["write_batch"]

ROLL_UP_EVERY: Final = 50_000
GAP_NS: Final = 300_000_000_000
"""Spans further apart than this are looked for as duplicates in separate stretches of time."""
IDENTITY: Final = ("started_ns", "span_id", "trace_id", "kind")

Key = tuple[str, str, Kind]
"""What tells spans apart; a run's rollup that stands in for an LLM call shares its root's id."""


def write_batch(cursor: Cursor, directory: Path, batch: Batch) -> bool:
    """Store a batch, inside a transaction; False, and nothing, where it was stored before."""
    position, rolled_seq, last_seq = _state(cursor)
    if batch.position is not None and batch.position <= position:
        return False
    spans = list(_unique(batch.spans).values())
    if spans:
        _insert_spans(cursor, directory, spans, last_seq + 1)
        last_seq += len(spans)
    if batch.runs:
        _upsert_runs(cursor, batch)
    cursor.execute(
        "UPDATE state SET position = ?, last_seq = ?", [batch.position or position, last_seq]
    )
    if last_seq - rolled_seq >= ROLL_UP_EVERY:
        roll_up(cursor, last_seq)
    return True


def _state(cursor: Cursor) -> tuple[int, int, int]:
    row = cursor.execute("SELECT position, rolled_seq, last_seq FROM state").fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _unique(spans: Iterable[StoredSpan]) -> dict[Key, StoredSpan]:
    unique: dict[Key, StoredSpan] = {}
    for stored in spans:
        span = stored.span
        unique.setdefault((span.trace_id, span.span_id, span.kind), stored)
    return unique


def _insert_spans(
    cursor: Cursor, directory: Path, spans: Sequence[StoredSpan], first_seq: int
) -> None:
    known = " UNION ALL ".join(
        Relation.between(cursor, directory, first, last).select(
            IDENTITY, f"started_ns BETWEEN {first} AND {last}"
        )
        for first, last in _stretches(sorted(stored.span.started_ns for stored in spans))
    )
    same = " AND ".join(f"known.{name} = batch.{name}" for name in IDENTITY)
    cursor.register("batch", spans_table(spans, first_seq))
    cursor.execute(
        f"INSERT INTO spans SELECT {SPAN_VALUES} FROM batch"
        f" WHERE NOT EXISTS (SELECT 1 FROM ({known}) AS known WHERE {same})"
    )
    cursor.unregister("batch")


def _stretches(times_ns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut ascending times where a gap is: a duplicate began at the very same time."""
    first = last = times_ns[0]
    for time_ns in times_ns:
        if time_ns - last > GAP_NS:
            yield first, last
            first = time_ns
        last = time_ns
    yield first, last


def _upsert_runs(cursor: Cursor, batch: Batch) -> None:
    extents: dict[str, tuple[int, int]] = {}
    for stored in batch.spans:
        if stored.run_id is not None:
            time_ns = stored.span.started_ns
            first, last = extents.get(stored.run_id, (time_ns, time_ns))
            extents[stored.run_id] = min(first, time_ns), max(last, time_ns)
    latest = {stored.run.run_id: stored for stored in batch.runs}
    cursor.register("batch", runs_table(_with_extent(run, extents) for run in latest.values()))
    cursor.execute(UPSERT)
    cursor.unregister("batch")


def _with_extent(
    stored: StoredRun, extents: dict[str, tuple[int, int]]
) -> tuple[StoredRun, int, int]:
    run = stored.run
    first, last = extents.get(run.run_id, (run.started_ns, run.started_ns))
    return stored, min(first, run.started_ns), max(last, run.ended_ns or run.started_ns)


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
)
