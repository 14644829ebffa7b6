from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes.store_rows import DAY, START, make_call, make_span
from tocsin.errors import StoreError
from tocsin.store.base import Batch
from tocsin.store.embedded import relation
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.database import Database
from tocsin.store.embedded.relation import Relation
from tocsin.store.embedded.schema import MIGRATIONS
from tocsin.store.embedded.store import EmbeddedStore

NEXT = (
    "ALTER TABLE spans ADD COLUMN region VARCHAR",
    "UPDATE spans SET region = 'unknown yet'",
)
BROKEN = ("ALTER TABLE spans ADD COLUMN region VARCHAR", "CREATE TABLE spans (x INTEGER)")


@pytest.fixture
def old(data: Path) -> Path:
    """A directory of this version: one sealed span, one live."""
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[make_span(1), make_call(2, at=DAY)], position=5))
    store.seal(START + DAY)
    store.close()
    return data


def open_with(data: Path, *more: Sequence[str]) -> Database:
    return Database(data, migrations=(*MIGRATIONS, *more))


def version(cursor: Cursor) -> int | None:
    row = first_row(cursor, "SELECT version FROM schema_version")
    return row[0] if row else None


def test_leads_forward(old: Path) -> None:
    database = open_with(old, NEXT)
    regions = database.read(lambda cursor: cursor.execute("SELECT region FROM spans").fetchall())
    assert [("unknown yet",)] == regions
    assert len(MIGRATIONS) + 1 == database.read(version)
    database.close()


def test_files_of_older_versions_are_read_too(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(relation.SINCE, "region", len(MIGRATIONS) + 1)
    monkeypatch.setitem(relation.TYPES, "region", "VARCHAR")
    database = open_with(old, NEXT)

    def ask(cursor: Cursor) -> list[tuple[str, str | None]]:
        source = Relation.between(cursor, database.spans_directory, 0, None)
        query = source.select(("span_id", "region"), "region IS NULL OR region <> 'none'")
        return sorted(cursor.execute(query).fetchall())

    assert [("span-1", None), ("span-2", "unknown yet")] == database.read(ask)
    database.close()


def test_goes_all_the_way_or_not_at_all(old: Path) -> None:
    with pytest.raises(StoreError, match="already exists"):
        open_with(old, NEXT, BROKEN)
    database = open_with(old)
    assert len(MIGRATIONS) == database.read(version)
    database.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_refuses_what_a_newer_program_wrote(old: Path, read_only: bool) -> None:
    open_with(old, NEXT).close()
    with pytest.raises(StoreError, match="has schema version 4, this program knows up to 3"):
        EmbeddedStore(old, read_only=read_only)
