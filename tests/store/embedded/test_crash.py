"""kill -9 at any moment: what was acknowledged is there, once."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from tests.fakes.store_rows import DAY, START
from tests.store.embedded.crash_child import SPANS
from tocsin.store.base import GroupBy, RunQuery, Window
from tocsin.store.embedded.store import EmbeddedStore

ROUNDS = 12


def run_until_killed(data: Path, seconds: float) -> list[str]:
    """Return what a child says it has committed before it is killed after its first commit."""
    command = [sys.executable, "-m", "tests.store.embedded.crash_child", str(data)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline().strip()]
    time.sleep(seconds)
    child.kill()
    said += child.stdout.read().split("\n")
    child.wait()
    child.stdout.close()
    return [line for line in said if line]


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled(data: Path) -> None:
    dice = random.Random(8)
    numbers: list[int] = []
    late: list[int] = []
    for _ in range(ROUNDS):
        for line in run_until_killed(data, dice.random()):
            (late if line.startswith("late") else numbers).append(int(line.split()[-1]))
        check(data, max(numbers), set(late))
    assert sorted(set(numbers)) == sorted(numbers)


def check(data: Path, acknowledged: int, late: set[int]) -> None:
    store = EmbeddedStore(data, retention_days=None)
    try:
        position = store.position()
        assert acknowledged <= position <= acknowledged + 1
        runs = store.runs(RunQuery(limit=1000)).runs
        assert {f"run-{number}" for number in range(1, position + 1)} == {
            stored.run.run_id for stored in runs
        }
        window = Window(start_ns=START - 99 * DAY, end_ns=START + 999 * DAY)
        [usage] = store.usage(GroupBy.MODEL, window)
        known = Counter(span_ids(store, data))
    finally:
        store.close()
    expected = {f"span-{number}" for number in range(SPANS, (position + 1) * SPANS)}
    expected |= {f"span-{10**6 + number}" for number in late}
    assert expected <= set(known)
    assert {1} == set(known.values())
    assert usage.calls == len(known)
    assert len(known) - len(expected) <= ROUNDS  # late ones that were stored but not said to be


def span_ids(store: EmbeddedStore, data: Path) -> list[str]:
    """Read the ids of all spans from the live table and from the files that count."""

    def ask(cursor: duckdb.DuckDBPyConnection) -> list[str]:
        rows = cursor.execute("SELECT span_id FROM spans").fetchall()
        files = [row[0] for row in cursor.execute("SELECT file FROM sealed").fetchall()]
        for file in files:
            rows += cursor.execute(f"SELECT span_id FROM '{data / 'spans' / file}'").fetchall()
        return [row[0] for row in rows]

    return store._database.read(ask)
