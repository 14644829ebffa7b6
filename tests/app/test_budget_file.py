import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes.clock import NOON_NS
from tocsin.app.budget_file import BudgetFile, reason
from tocsin.app.budget_storage import BudgetStorage
from tocsin.errors import StoreError
from tocsin.guard.budget_book import BudgetLine, Spent
from tocsin.guard.budget_events import BudgetEvent
from tocsin.guard.budgets import Budget
from tocsin.guard.periods import Calendar

NS = 1_000_000_000
TODAY = Calendar("day", UTC).period(NOON_NS)
NOON = NOON_NS // NS
EVENT = BudgetEvent("team", TODAY, "alert:0.5", "warning", "…")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path, at noon of the tests' own day."""
    monkeypatch.setattr("time.time", lambda: float(NOON))
    return tmp_path / "budgets.sqlite"


@pytest.fixture
def pair(path: Path) -> Iterator[tuple[BudgetFile, BudgetFile]]:
    """Two processes' view of one file."""
    files = BudgetFile(path), BudgetFile(path)
    yield files
    for file in files:
        file.leave()


def spent(usd: str) -> Spent:
    return Spent(Decimal(usd), 1, 0)


def test_adds_up_what_several_have_spent_exactly(pair: tuple[BudgetFile, BudgetFile]) -> None:
    for file in pair:
        file.add({"team": {NOON: spent("0.1"), NOON + 900: spent("0.2")}, "other": {}})

    for file in pair:
        assert Spent(Decimal("0.6"), 4, 0) == file.total("team", TODAY)
        assert {NOON + 900: Decimal("0.4")} == file.slots("team", NOON + 1)
        assert NOON == file.first_slot("team")


def test_a_total_is_that_of_its_period(path: Path) -> None:
    file = BudgetFile(path)
    midnight = TODAY.end_ns // NS
    file.add({"team": {midnight - 900: spent("1"), midnight: spent("2")}})

    assert Decimal(1) == file.total("team", TODAY).usd
    assert Decimal(2) == file.total("team", Calendar("day", UTC).period(TODAY.end_ns)).usd
    file.close()


def test_tells_that_somebody_else_has_written(pair: tuple[BudgetFile, BudgetFile]) -> None:
    first, second = pair
    assert first.has_changed()
    assert not first.has_changed()
    first.add({"team": {NOON: spent("1")}})
    assert not first.has_changed()
    second.add({"team": {NOON: spent("1")}})
    assert first.has_changed()


def test_an_event_is_claimed_by_one(pair: tuple[BudgetFile, BudgetFile]) -> None:
    assert [True, False, False] == [
        pair[0].claim(EVENT),
        pair[1].claim(EVENT),
        pair[0].claim(EVENT),
    ]
    assert {"alert:0.5"} == pair[1].told("team", TODAY)


def test_one_shows_the_file_and_another_takes_over(pair: tuple[BudgetFile, BudgetFile]) -> None:
    first, second = pair
    assert (True, True, False) == (first.is_first(), first.is_first(), second.is_first())
    first.leave()
    assert second.is_first()


def test_what_is_older_than_any_period_that_can_be_asked_for_goes(path: Path) -> None:
    file = BudgetFile(path)
    file.add({"team": {NOON - 101 * 86_400: spent("1"), NOON: spent("1")}})
    file.close()

    assert NOON == file.first_slot("team")
    file.close()


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")

    with pytest.raises(StoreError, match="newer Tocsin"):
        BudgetFile(path).total("team", TODAY)


@pytest.mark.parametrize(
    ("content", "why"), [(b"nonsense " * 1000, "damaged"), (None, "unavailable")]
)
def test_failures_have_reasons(path: Path, content: bytes | None, why: str) -> None:
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    with pytest.raises((sqlite3.Error, OSError)) as caught:
        BudgetFile(path).total("team", TODAY)
    assert why == reason(caught.value)


def test_a_locked_file_fails_as_locked(pair: tuple[BudgetFile, BudgetFile], path: Path) -> None:
    pair[0].add({})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            pair[0].add({"team": {NOON: spent("1")}})
    assert "locked" == reason(caught.value)


def test_what_could_not_be_written_is_written_later_and_counted_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage, line = BudgetStorage(path), BudgetLine(Budget("team", limit=5), NOON_NS)
    line.add(Decimal(1), NOON_NS)
    path.write_bytes(b"nonsense " * 1000)
    for _ in range(3):
        assert not storage.sync({"team": line}, NOON_NS)
    line.add(Decimal(2), NOON_NS)
    path.unlink()
    assert storage.sync({"team": line}, NOON_NS)

    assert 1 == len(caplog.messages)
    assert "is damaged; move it away" in caplog.text
    assert {"damaged": 3, "locked": 0, "unavailable": 0} == storage.failures
    assert Spent(Decimal(3), 2, 0) == line.spent(TODAY) == BudgetFile(path).total("team", TODAY)
    storage.close()


def test_lines_of_two_processes_know_of_each_other(path: Path) -> None:
    lines = [BudgetLine(Budget("team", limit=5), NOON_NS) for _ in range(2)]
    storages = [BudgetStorage(path) for _ in range(2)]
    for usd, line in enumerate(lines, 1):
        line.add(Decimal(usd), NOON_NS)
    for _ in range(2):
        for storage, line in zip(storages, lines, strict=True):
            storage.sync({"team": line}, NOON_NS)
    lines[0].add(Decimal(4), NOON_NS)

    assert [Decimal(7), Decimal(3)] == [line.spent(TODAY).usd for line in lines]
    for storage in storages:
        storage.close()


def test_a_restart_knows_yesterdays_hours(path: Path) -> None:
    yesterday_ns = NOON_NS - 24 * 3600 * NS
    before, after = (BudgetLine(Budget("team", limit=50), NOON_NS - n) for n in (2 * NS, 0))
    for at_ns in (yesterday_ns - NS, yesterday_ns + 3600 * NS):
        before.add(Decimal(10), at_ns)
    for line in (before, after):
        storage = BudgetStorage(path)
        storage.sync({"team": line}, NOON_NS, anew=True)
        storage.close()

    outlook = after.outlooks(NOON_NS)["yesterday"]
    assert Decimal(10) == outlook.total_usd


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_leaves_the_parents_connection_alone(path: Path) -> None:
    file = BudgetFile(path)
    file.add({"team": {NOON: spent("1")}})
    assert file.is_first()

    file.reset_after_fork()  # as in the child
    file.add({"team": {NOON: spent("1")}})

    assert Decimal(2) == file.total("team", TODAY).usd
    file.leave()
