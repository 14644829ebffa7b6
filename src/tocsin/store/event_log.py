"""What was raised, newest first: bounded, kept over restarts, and each thing once."""

import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from tocsin.errors import StoreError

__all__ = ["Event", "EventKind", "EventLog", "EventQuery", "Raised"]

KEPT: Final = 10_000
"""Events that are kept; also how far back one is known to have been raised."""
TRIM_EVERY: Final = 256
VERSION: Final = 1
SCHEMA: Final = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    workflow TEXT NOT NULL,
    name TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    run_id TEXT,
    span_id TEXT,
    document BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_trace ON events (trace_id, kind, name);
PRAGMA user_version = {VERSION};
COMMIT;
"""


class EventKind(StrEnum):
    """What sort of event."""

    BREACH = "breach"
    FINDING = "finding"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was raised of a run.

    name: which of its kind, once per run. document: all of it, as JSON.
    """

    at_ns: int
    kind: EventKind
    name: str
    workflow: str
    trace_id: str
    run_id: str | None
    """None where it is not known yet."""
    document: bytes


class Raised(msgspec.Struct, frozen=True):
    """An event, and ids of spans by which its run is recognised if its id is not known."""

    event: Event
    span_ids: Collection[str] = ()


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events. None does not filter."""

    kind: EventKind | None = None
    name: str | None = None
    workflow: str | None = None
    run_id: str | None = None
    start_ns: int | None = None
    limit: int = 100


FILTERS: Final = {
    "kind": "kind = :kind",
    "name": "name = :name",
    "workflow": "workflow = :workflow",
    "run_id": "run_id = :run_id",
    "start_ns": "at_ns >= :start_ns",
}


class EventLog:
    """Events in an SQLite file; any thread may ask. Everything raises StoreError.

    What was added survives the end of the process, kill -9 included; a power cut may take the
    last events, which are then raised again.
    """

    def __init__(self, path: Path, *, kept: int = KEPT) -> None:
        self._path = path
        self._kept = kept
        self._lock = threading.Lock()
        with self._doing():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._prepare()
        except StoreError:
            self._database.close()
            raise

    def _prepare(self) -> None:
        with self._doing():
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise StoreError(f"{self._path} was written by a newer Tocsin; use that one")
            self._database.executescript(SCHEMA)

    def add(self, raised: Iterable[Raised]) -> list[bool]:
        """Keep what was not raised before, in one transaction; tell of each whether it is new."""
        with self._doing(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            return [self._is_added(one) for one in raised]

    def newest(self, query: EventQuery) -> list[Event]:
        """Read events, the latest first."""
        values = {name: getattr(query, name) for name in FILTERS}
        given = {name: value for name, value in values.items() if value is not None}
        where = " AND ".join(["true", *(FILTERS[name] for name in given)])
        fields = ", ".join(Event.__struct_fields__)
        with self._doing():
            rows = self._database.execute(
                f"SELECT {fields} FROM events WHERE {where} ORDER BY id DESC LIMIT :limit",
                given | {"limit": query.limit},
            ).fetchall()
        return [_event(row) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        with self._doing():
            self._database.close()

    def _is_added(self, one: Raised) -> bool:
        if self._was_raised(one):
            return False
        self._insert(one)
        return True

    def _was_raised(self, one: Raised) -> bool:
        """Whether the same was raised of the same run, also before its id was known."""
        event = one.event
        rows = self._database.execute(
            "SELECT id, run_id, span_id FROM events WHERE trace_id = ? AND kind = ? AND name = ?",
            (event.trace_id, event.kind, event.name),
        ).fetchall()
        for row_id, run_id, span_id in rows:
            if run_id is not None and run_id == event.run_id:
                return True
            if span_id is not None and span_id in one.span_ids:
                self._database.execute(
                    "UPDATE events SET run_id = coalesce(run_id, ?) WHERE id = ?",
                    (event.run_id, row_id),
                )
                return True
        return False

    def _insert(self, one: Raised) -> None:
        values: dict[str, Any] = msgspec.structs.asdict(one.event)
        values["span_id"] = min(one.span_ids, default=None)
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        row_id = self._database.execute(
            f"INSERT INTO events ({names}) VALUES ({marks})", values
        ).lastrowid
        if row_id is not None and row_id % TRIM_EVERY == 0:
            self._database.execute("DELETE FROM events WHERE id <= ?", (row_id - self._kept,))

    @contextmanager
    def _doing(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"{self._path} cannot be used: {error}") from error


def _event(row: tuple[Any, ...]) -> Event:
    values = dict(zip(Event.__struct_fields__, row, strict=True))
    return Event(**values | {"kind": EventKind(values["kind"])})
