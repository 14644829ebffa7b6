"""Past days leave the live table for sorted Parquet files, which are dropped whole when old.

A file counts once the transaction that lists it in `sealed` and deletes its rows from the live
table has committed. Broken off before that, the file is written again under the same name.
"""

import contextlib
import datetime as dt
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from tocsin.errors import StoreError
from tocsin.store.base import Sealed
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.database import Database
from tocsin.store.embedded.labels import Labels
from tocsin.store.embedded.rollup import HOUR_NS, compact, roll_up
from tocsin.store.embedded.rows import SPAN_NAMES
from tocsin.store.embedded.schema import MIGRATIONS

__all__ = ["DAY_NS", "Sealer"]

DAY_NS: Final = 86_400_000_000_000
EPOCH: Final = dt.date(1970, 1, 1)
FILE_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\d+)?\.parquet")
ROW_GROUP_SIZE: Final = 30_720
"""Spans that a query for one run has to read at least."""
LATE_ENOUGH: Final = 100_000
"""Late spans wait for the next day's sealing, unless they are this many."""


class Pending(msgspec.Struct, frozen=True):
    """A past day with spans in the live table."""

    day: dt.date
    spans: int
    files: int
    """That the day has already: its new one will hold late spans."""


class Sealer:
    """Seals and drops days of one database. One thread at a time.

    retention_days: full days kept besides today; None keeps everything.
    """

    def __init__(self, database: Database, labels: Labels, retention_days: int | None) -> None:
        self._database = database
        self._labels = labels
        self._directory = database.spans_directory
        self._retention_days = retention_days

    def seal(self, now_ns: int) -> Sealed:
        """Drop the days beyond retention, then seal those that are over."""
        with self._database.roomy():
            return self._seal(now_ns)

    def _seal(self, now_ns: int) -> Sealed:
        today = _day_of(now_ns)
        dropped = []
        if self._retention_days is not None:
            first_kept = today - dt.timedelta(days=self._retention_days)
            if self._database.read(lambda cursor: _has_before(cursor, _start_of(first_kept))):
                dropped = self._drop_before(first_kept)
        due = self._due(today)
        spans = sum(self._seal_day(pending) for pending in due)
        if due or dropped:
            self._database.checkpoint()
        return Sealed(
            spans=spans, sealed_days=[pending.day for pending in due], dropped_days=dropped
        )

    def _due(self, today: dt.date) -> list[Pending]:
        def pending(cursor: Cursor) -> list[Pending]:
            rows = cursor.execute(
                f"SELECT started_ns // {DAY_NS} AS number, count(*),"
                f" (SELECT count(*) FROM sealed WHERE first_ns // {DAY_NS} = number)"
                " FROM spans WHERE started_ns < ? GROUP BY number ORDER BY number",
                [_start_of(today)],
            ).fetchall()
            return [Pending(EPOCH + dt.timedelta(days=row[0]), row[1], row[2]) for row in rows]

        days = self._database.read(pending)
        is_new_day = any(day.files == 0 for day in days)
        return [day for day in days if is_new_day or day.spans >= LATE_ENOUGH]

    def _seal_day(self, pending: Pending) -> int:
        suffix = f".{pending.files}" if pending.files else ""
        path = self._directory / f"{pending.day}{suffix}.parquet"
        start_ns = _start_of(pending.day)
        last_seq = self._database.write(_roll_up_all)
        # What arrives from here on has a higher seq and stays in the live table.
        end_ns = start_ns + DAY_NS
        rows = f"started_ns >= {start_ns} AND started_ns < {end_ns} AND seq <= {last_seq}"
        self._write_file(path, rows)

        def swap(cursor: Cursor) -> int:
            source = f"read_parquet('{_escape(path)}')"
            extent = "count(*), min(started_ns), max(started_ns)"
            written = cursor.execute(f"SELECT {extent} FROM {source}").fetchall()
            cursor.execute(
                "INSERT INTO sealed VALUES (?, ?, ?, ?, ?, ?)",
                [path.name, pending.day, len(MIGRATIONS), *written[0]],
            )
            deleted = cursor.execute(f"DELETE FROM spans WHERE {rows}").fetchall()
            if deleted[0][0] != written[0][0]:
                raise StoreError(f"{path} holds {written[0][0]} of {deleted[0][0]} spans")
            compact(cursor, start_ns, end_ns)
            return int(written[0][0])

        return self._database.write(swap)

    def _write_file(self, path: Path, rows: str) -> None:
        """Write spans to a file that is complete as soon as it has its name."""
        partial = path.with_suffix(".partial")
        try:
            self._database.run(
                f"COPY (SELECT label, {', '.join(SPAN_NAMES)} FROM spans WHERE {rows}"
                f" ORDER BY started_ns, trace_id, span_id) TO '{_escape(partial)}'"
                f" (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd,"
                f" ROW_GROUP_SIZE {ROW_GROUP_SIZE},"
                f" KV_METADATA {{tocsin_schema: '{len(MIGRATIONS)}'}})"
            )
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise StoreError(f"cannot seal {path}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _drop_before(self, first_kept: dt.date) -> list[dt.date]:
        start_ns = _start_of(first_kept)

        def forget(cursor: Cursor) -> list[dt.date]:
            days = cursor.execute(
                "SELECT DISTINCT day FROM sealed WHERE day < ? ORDER BY day", [first_kept]
            ).fetchall()
            for table, time in OLD:
                cursor.execute(f"DELETE FROM {table} WHERE {time} < ?", [start_ns])
            cursor.execute(UNUSED_LABELS)
            self._labels.forget()
            return [row[0] for row in days]

        dropped = self._database.write(forget)
        try:
            for path in self._directory.iterdir():
                match = FILE_NAME.fullmatch(path.name)
                if match and dt.date.fromisoformat(match[1]) < first_kept:
                    path.unlink()
        except OSError as error:
            raise StoreError(f"cannot drop {error.filename}: {error.strerror}") from error
        return dropped


OLD: Final = (
    ("sealed", "first_ns"),
    ("spans", "started_ns"),
    ("runs", "started_ns"),
    ("usage_hourly", f"CAST(hour AS BIGINT) * {HOUR_NS}"),
    ("latency_hourly", f"CAST(hour AS BIGINT) * {HOUR_NS}"),
)
UNUSED_LABELS: Final = """
DELETE FROM labels WHERE label NOT IN (
    SELECT label FROM usage_hourly UNION ALL SELECT label FROM runs
    UNION ALL SELECT label FROM spans WHERE label IS NOT NULL)
"""


def _has_before(cursor: Cursor, start_ns: int) -> bool:
    tests = " OR ".join(f"EXISTS (FROM {table} WHERE {time} < $start)" for table, time in OLD)
    row = first_row(cursor, f"SELECT {tests}", {"start": start_ns})
    return bool(row and row[0])


def _roll_up_all(cursor: Cursor) -> int:
    row = first_row(cursor, "SELECT last_seq FROM state")
    last_seq: int = row[0] if row else 0
    roll_up(cursor, last_seq)
    return last_seq


def _day_of(time_ns: int) -> dt.date:
    return EPOCH + dt.timedelta(days=time_ns // DAY_NS)


def _start_of(day: dt.date) -> int:
    return (day - EPOCH).days * DAY_NS


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _escape(path: Path) -> str:
    return str(path).replace("'", "''")
