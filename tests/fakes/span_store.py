"""A store that keeps span ids in SQLite, rows and position in one transaction."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tocsin.api.wellformed import check
from tocsin.config.settings import Settings
from tocsin.errors import StoreError
from tocsin.meters.registry import Registry
from tocsin.model.telemetry import Format
from tocsin.serve.wiring import Wiring
from tocsin.store.record import Record


class SpanStore:
    """Has no UNIQUE constraint: a span stored twice is seen."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.1)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS spans (id TEXT)")
        self._db.execute("CREATE TABLE IF NOT EXISTS place (position INT)")

    def position(self) -> int:
        row = self._db.execute("SELECT max(position) FROM place").fetchone()
        return row[0] or 0

    def commit(self, batch: Sequence[str], position: int) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO spans VALUES (?)", [(row,) for row in batch])
            self._db.execute("DELETE FROM place")
            self._db.execute("INSERT INTO place VALUES (?)", (position,))
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"the store refuses: {error}") from error

    def idle(self) -> None:
        pass

    def ids(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT id FROM spans")]

    def close(self) -> None:
        self._db.close()


def span_ids(record: Record) -> list[str]:
    """Decode a body into the hex ids of its spans."""
    if record.kind == Format.JSON:
        return [
            span["spanId"]
            for resource in msgspec.json.decode(record.body)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
    request = ExportTraceServiceRequest.FromString(record.body)
    return [
        span.span_id.hex()
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def wire(_settings: Settings, data: Path, _registry: Registry) -> Wiring:
    """Connect a receiver to a SpanStore in the data directory."""
    store = SpanStore(data / "spans.db")
    return Wiring(
        check=check, process=span_ids, store=store, close=store.close, description="span ids"
    )


def request_of(*ids: bytes, padding: int = 0) -> bytes:
    """Make an export request whose spans have these ids (8 bytes each)."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for id_ in ids:
        spans.add(span_id=id_, trace_id=id_ * 2, name="x" * padding)
    return request.SerializeToString()
