import datetime as dt
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.fakes.store_rows import DAY, HOUR, START, make_call, make_run, make_span
from tocsin.errors import StoreError
from tocsin.store.base import Batch, GroupBy, RunQuery, Window
from tocsin.store.embedded import sealing
from tocsin.store.embedded.store import EmbeddedStore

FIRST = dt.date(2024, 10, 4)
ALL = Window(start_ns=START, end_ns=START + 40 * DAY)


@pytest.fixture
def short(data: Path) -> Iterator[EmbeddedStore]:
    """A store that keeps two days besides today."""
    store = EmbeddedStore(data, retention_days=2)
    yield store
    store.close()


def files(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "spans").iterdir())


def names(store: EmbeddedStore) -> list[str]:
    return sorted(stored.span.span_id for stored in store.unfinished(0))


def test_seals_days_that_are_over_and_only_those(store: EmbeddedStore, data: Path) -> None:
    spans = [make_span(i, at=i * DAY + HOUR) for i in range(3)]
    store.commit(Batch(spans=spans))
    done = store.seal(START + 2 * DAY)
    assert (2, [FIRST, FIRST + dt.timedelta(1)]) == (done.spans, done.sealed_days)
    assert ["2024-10-04.parquet", "2024-10-05.parquet"] == files(data)
    assert spans == store.unfinished(0)


def test_has_nothing_to_do_the_second_time(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_span()]))
    store.seal(START + DAY)
    done = store.seal(START + DAY)
    assert (0, [], []) == (done.spans, done.sealed_days, done.dropped_days)


def test_files_are_sorted_and_any_tool_reads_them(store: EmbeddedStore, data: Path) -> None:
    store.commit(
        Batch(spans=[make_call(i, at=at, attributes={"a": "b"}) for i, at in ((0, 9), (1, 2))])
    )
    store.seal(START + DAY)
    with duckdb.connect() as any_tool:
        rows = any_tool.execute(
            f"SELECT span_id, cost_usd::VARCHAR, attributes FROM '{data}/spans/*.parquet'"
        ).fetchall()
    cost = "0.030000000000"
    assert [("span-1", cost, {"a": "b"}), ("span-0", cost, {"a": "b"})] == rows


def test_late_spans_go_into_another_file_with_the_next_day(
    store: EmbeddedStore, data: Path
) -> None:
    store.commit(Batch(spans=[make_span(1)]))
    store.seal(START + DAY)
    store.commit(Batch(spans=[make_span(2, at=1)]))
    assert [] == store.seal(START + DAY + HOUR).sealed_days
    store.commit(Batch(spans=[make_span(3, at=DAY)]))
    store.seal(START + 2 * DAY)
    assert ["2024-10-04.1.parquet", "2024-10-04.parquet", "2024-10-05.parquet"] == files(data)
    assert ["span-1", "span-2", "span-3"] == names(store)


def test_many_late_spans_do_not_wait(
    store: EmbeddedStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "LATE_ENOUGH", 2)
    store.commit(Batch(spans=[make_span(1)]))
    store.seal(START + DAY)
    store.commit(Batch(spans=[make_span(2), make_span(3)]))
    store.seal(START + DAY)
    assert ["2024-10-04.1.parquet", "2024-10-04.parquet"] == files(data)


def test_a_sealed_span_is_not_stored_again(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_span(1)]))
    store.seal(START + DAY)
    store.commit(Batch(spans=[make_span(1), make_span(2)]))
    assert ["span-1", "span-2"] == names(store)


def test_sums_are_the_same_before_and_after(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_call(i, at=i * HOUR) for i in range(30)]))
    before = store.usage(GroupBy.MODEL, ALL), store.latency(GroupBy.MODEL, ALL)
    store.seal(START + DAY)
    assert before == (store.usage(GroupBy.MODEL, ALL), store.latency(GroupBy.MODEL, ALL))


def test_days_beyond_retention_are_dropped_as_files(short: EmbeddedStore, data: Path) -> None:
    for day in range(5):
        spans = [make_call(day, run=day, at=day * DAY)]
        short.commit(Batch(spans=spans, runs=[make_run(day, at=day * DAY)]))
        short.seal(START + day * DAY + HOUR)
    assert ["2024-10-06.parquet", "2024-10-07.parquet"] == files(data)
    assert ["run-4", "run-3", "run-2"] == [s.run.run_id for s in short.runs(RunQuery()).runs]
    [usage] = short.usage(GroupBy.MODEL, ALL)
    assert 3 == usage.calls
    assert short.run("run-1") is None


def test_tells_which_days_it_dropped(short: EmbeddedStore) -> None:
    short.commit(Batch(spans=[make_span()]))
    short.seal(START + DAY)
    assert [FIRST] == short.seal(START + 3 * DAY).dropped_days


def test_a_dropped_name_can_come_back(short: EmbeddedStore) -> None:
    short.commit(Batch(spans=[make_span(1)]))
    short.seal(START + DAY)
    short.seal(START + 3 * DAY)
    short.commit(Batch(spans=[make_span(2, at=3 * DAY)]))
    [errors] = short.errors(GroupBy.TOOL, ALL)
    assert ("search", 1) == (errors.group, errors.total)


def test_spans_older_than_retention_do_not_become_files(short: EmbeddedStore, data: Path) -> None:
    short.commit(Batch(spans=[make_span()]))
    short.seal(START + 30 * DAY)
    assert [] == files(data)
    assert [] == names(short)


def test_foreign_files_are_left_alone(short: EmbeddedStore, data: Path) -> None:
    (data / "spans" / "notes.txt").write_text("mine")
    short.commit(Batch(spans=[make_span()]))
    short.seal(START + DAY)
    short.seal(START + 9 * DAY)
    assert ["notes.txt"] == files(data)


def test_a_file_left_by_a_crash_is_written_again(store: EmbeddedStore, data: Path) -> None:
    (data / "spans" / "2024-10-04.parquet").write_bytes(b"half a file")
    (data / "spans" / "2024-10-04.partial").write_bytes(b"half a file")
    store.commit(Batch(spans=[make_span(1)]))
    assert ["span-1"] == names(store)
    store.seal(START + DAY)
    assert ["2024-10-04.parquet"] == files(data)
    assert ["span-1"] == names(store)


def test_a_failed_write_leaves_everything_in_place(
    store: EmbeddedStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    store.commit(Batch(spans=[make_span(1)]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match=r"cannot seal .*Input/output error"):
            store.seal(START + DAY)
    assert [] == files(data)
    assert ["span-1"] == names(store)
    assert 1 == store.seal(START + DAY).spans


def test_only_the_user_can_read_the_directory(store: EmbeddedStore, data: Path) -> None:
    assert 0o700 == stat.S_IMODE(data.stat().st_mode)


def test_a_day_has_room_to_be_sorted_in_and_gives_it_back(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddedStore(data, memory_mb=100)
    limits: list[str] = []
    write = sealing.Sealer._write_file

    def limit() -> str:
        query = "SELECT current_setting('memory_limit')"
        return str(store._database.read(lambda cursor: cursor.execute(query).fetchall())[0][0])

    def watched(sealer: sealing.Sealer, path: Path, rows: str) -> None:
        limits.append(limit())
        write(sealer, path, rows)

    monkeypatch.setattr(sealing.Sealer, "_write_file", watched)
    store.commit(Batch(spans=[make_span(1, at=HOUR)]))
    store.seal(START + 2 * DAY)
    assert (["976.5 MiB"], "95.3 MiB") == (limits, limit())
    store.close()
