"""Many processes come and go in one shared directory: nothing is lost or counted twice."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from math import fsum
from pathlib import Path

import pytest

from tests.fakes.process import ROOT, wait_for
from tocsin.app.shared import ALIVE_FOR_S, FOLD_AT, FOLDED_FILE, SharedFamilies
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Family, Registry

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]

COST_USD = 0.1
"""Not a sum of powers of two, so that adding in another order shows."""
LABELS = ("gpt-4o", "w", "input")


def spender() -> Registry:
    registry = Registry()
    registry.add(m.COST, LABELS, COST_USD)
    registry.observe(m.RUN_COST, ("w",), COST_USD)
    registry.set(m.ACTIVE_RUNS, ("w",), 1)
    return registry


def live_and_die(directory: Path, count: int) -> None:
    """Leave the files of processes that spent COST_USD each and ended a while ago."""
    long_ago_s = time.time() - 2 * ALIVE_FOR_S
    for _ in range(count):
        process = SharedFamilies(directory)
        process.publish(spender().collect, now=True)
        os.utime(process._own, (long_ago_s, long_ago_s))
        process.close()


def files(directory: Path) -> int:
    return len(list(directory.glob("tocsin-*")))


def spent(families: list[Family]) -> tuple[float, int]:
    """Dollars, and how many processes spent them."""
    by_metric = {family.metric: family for family in families}
    if m.COST not in by_metric:
        return 0.0, 0
    spread = by_metric[m.RUN_COST].distributions["w",]
    assert by_metric[m.COST].values[LABELS] == spread.sum
    return spread.sum, sum(spread.counts)


def look(directory: Path) -> tuple[float, int]:
    """Look at the directory as one more process, which scraping may make tidy up."""
    viewer = SharedFamilies(directory)
    try:
        return spent(viewer.merged(list))
    finally:
        viewer.close()
        viewer._own.unlink(missing_ok=True)
        viewer._own.with_suffix(".alive").unlink(missing_ok=True)


def test_dead_processes_become_one_file_and_the_same_sum(tmp_path: Path) -> None:
    live_and_die(tmp_path, FOLD_AT)
    before = look(tmp_path)
    live_and_die(tmp_path, FOLD_AT)
    after = look(tmp_path)

    assert (fsum([COST_USD] * FOLD_AT), FOLD_AT) == before
    assert (fsum([COST_USD] * 2 * FOLD_AT), 2 * FOLD_AT) == after
    assert after == look(tmp_path)
    assert ["tocsin.folded", "tocsin.lock"] == sorted(path.name for path in tmp_path.iterdir())


def test_process_that_was_only_asleep_is_not_folded(tmp_path: Path) -> None:
    live_and_die(tmp_path, FOLD_AT)
    sleeper = SharedFamilies(tmp_path)
    sleeper.publish(spender().collect, now=True)
    os.utime(sleeper._own, (0, 0))
    look(tmp_path)
    sleeper.publish(spender().collect, now=True)

    assert FOLD_AT + 1 == look(tmp_path)[1]
    sleeper.close()


def test_folded_file_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / FOLDED_FILE).write_bytes(b"\xc1")
    live_and_die(tmp_path, FOLD_AT)

    assert (FOLD_AT, b"\xc1") == (look(tmp_path)[1], (tmp_path / FOLDED_FILE).read_bytes())


@pytest.mark.parametrize("removed", [0, 1, 5, 2 * FOLD_AT])
def test_killed_before_everything_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    live_and_die(tmp_path, FOLD_AT)
    unlink, calls = Path.unlink, 0

    def unlink_some(path: Path, missing_ok: bool = False) -> None:
        nonlocal calls
        calls += 1
        if calls > removed:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink_some)
        viewer = SharedFamilies(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            viewer.merged(list)
        viewer.close()
    counted = look(tmp_path)[1]
    live_and_die(tmp_path, FOLD_AT)

    assert (FOLD_AT, 2 * FOLD_AT) == (counted, look(tmp_path)[1])
    assert 2 * FOLD_AT == look(tmp_path)[1]


LOOKING = """
import sys
from pathlib import Path
from tests.e2e.test_shared_dir import live_and_die, look
directory = Path(sys.argv[1])
print("ready", flush=True)
while True:
    look(directory)
"""


def test_kill_9_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    counts = []
    for round_number in range(8):
        live_and_die(tmp_path, FOLD_AT + 8)
        looker = subprocess.Popen(
            [sys.executable, "-c", LOOKING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert looker.stdout is not None
        looker.stdout.readline()
        time.sleep(random.Random(round_number).uniform(0, 0.03))
        looker.send_signal(signal.SIGKILL)
        looker.wait()
        looker.stdout.close()
        counts.append(look(tmp_path)[1])

    assert [(FOLD_AT + 8) * (n + 1) for n in range(8)] == counts


def test_scrapers_at_once_see_no_counter_fall(tmp_path: Path) -> None:
    live_and_die(tmp_path, 1)
    stop, problems = threading.Event(), list[str]()

    def scrape() -> None:
        last = (0.0, 0)
        while not stop.is_set():
            seen = look(tmp_path)
            if seen[0] < last[0] or seen[1] < last[1]:
                problems.append(f"{last} fell to {seen}")
            last = seen

    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(12):
        live_and_die(tmp_path, FOLD_AT)
    stop.set()
    for thread in threads:
        thread.join()

    assert [] == problems
    assert 12 * FOLD_AT + 1 == look(tmp_path)[1]


def timed(action: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


def test_a_thousand_dead_processes_slow_down_one_scrape_only(tmp_path: Path) -> None:
    live_and_die(tmp_path, 1_000)
    first_s = timed(lambda: look(tmp_path))

    assert wait_for(lambda: files(tmp_path) <= 2, 5)
    assert timed(lambda: look(tmp_path)) < first_s / 4
