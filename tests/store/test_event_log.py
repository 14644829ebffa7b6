"""Each thing is raised once per run, over restarts, and the list stays short."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tocsin.errors import StoreError
from tocsin.store.event_log import Event, EventKind, EventLog, EventQuery, Raised


def event(run_id: str | None = "r", **fields: Any) -> Event:
    found: dict[str, Any] = {
        "at_ns": 1,
        "kind": EventKind.BREACH,
        "name": "tokens",
        "workflow": "w",
        "trace_id": "t",
        "document": b"{}",
    }
    return Event(run_id=run_id, **(found | fields))


def raised(run_id: str | None = "r", *span_ids: str, **fields: Any) -> Raised:
    return Raised(event(run_id, **fields), span_ids)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    opened = EventLog(path)
    yield opened
    opened.close()


def test_the_same_of_the_same_run_is_raised_once(log: EventLog) -> None:
    assert [True] == log.add([raised()])
    assert [False, False] == log.add([raised(), raised("r", "s1")])
    others = [
        raised("r2"),
        raised(name="cost"),
        raised(kind=EventKind.FINDING),
        raised(trace_id="u"),
    ]
    assert [True] * 4 == log.add(others)


def test_twice_in_one_batch_is_once(log: EventLog) -> None:
    assert [True, False] == log.add([raised(), raised()])


def test_a_run_is_recognised_once_its_id_is_known(log: EventLog) -> None:
    log.add([raised(None, "s2", "s1")])
    assert [False] == log.add([raised(None, "s1", "s2", "s3")])
    assert [False] == log.add([raised("r", "s1", "s2", "s3", "s4")])
    assert ["r"] == [one.run_id for one in log.newest(EventQuery())]
    assert [True] == log.add([raised("r2", "s9")])


def test_other_runs_of_a_trace_are_not_taken_for_one_whose_id_was_unknown(log: EventLog) -> None:
    log.add([raised(None, "s1")])
    assert [True] == log.add([raised("other", "s7")])
    assert [True] == log.add([raised(None, "s8")])


def test_restart(path: Path) -> None:
    first = EventLog(path)
    first.add([raised()])
    first.close()
    again = EventLog(path)
    assert [False] == again.add([raised()])
    assert [event()] == again.newest(EventQuery())
    again.close()


def test_newest_first_and_filtered(log: EventLog) -> None:
    log.add([raised(f"r{n}", at_ns=n, workflow="ab"[n % 2], name=f"n{n}") for n in range(6)])

    def ids(**query: Any) -> list[str | None]:
        return [one.run_id for one in log.newest(EventQuery(**query))]

    assert ["r5", "r4", "r3", "r2", "r1", "r0"] == ids()
    assert ["r5", "r3"] == ids(workflow="b", limit=2)
    assert ["r5", "r4"] == ids(start_ns=4)
    assert (["r2"], ["r3"], []) == (ids(name="n2"), ids(run_id="r3"), ids(kind=EventKind.FINDING))


def test_old_events_make_room(path: Path) -> None:
    log = EventLog(path, kept=300)
    log.add([raised(f"r{n}") for n in range(1024)])
    found = log.newest(EventQuery(limit=5000))
    assert (300, "r1023") == (len(found), found[0].run_id)
    log.close()


def test_for_this_user_only(path: Path, log: EventLog) -> None:
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_file_that_is_none(path: Path) -> None:
    path.write_bytes(b"not a database, and long enough to be looked at" * 50)
    with pytest.raises(StoreError, match=r"events.db cannot be used: file is not a data"):
        EventLog(path)


def test_a_newer_file(path: Path, log: EventLog) -> None:
    log._database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="was written by a newer Tocsin"):
        EventLog(path)


def test_nothing_is_kept_of_what_failed_half_way(log: EventLog) -> None:
    bad = Raised(event(at_ns=None, name="bad"))
    with pytest.raises(StoreError, match="NOT NULL"):
        log.add([raised(), bad])
    assert [] == log.newest(EventQuery())
    assert [True] == log.add([raised()])
