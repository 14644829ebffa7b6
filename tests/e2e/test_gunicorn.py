"""gunicorn and its workers: one page for all, whoever answers and whoever dies."""

import os
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.fakes.process import (
    SHARED_DIR,
    START_S,
    Start,
    fetch,
    free_port,
    scrape,
    wait_for,
)
from tocsin.app.shared import ALIVE_FOR_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(90)]

RUNS = "agent_workflow_runs_total"
ACTIVE = "agent_active_workflows"


class Site:
    """gunicorn with two workers that run agents."""

    def __init__(self, start: Start, *options: str, **env: str) -> None:
        self.metrics_port, self._port = free_port(), free_port()
        command = [
            *(sys.executable, "-m", "gunicorn", "-w", "2", *options),
            *("-b", f"127.0.0.1:{self._port}", "--graceful-timeout", "3", "--no-control-socket"),
            "tests.fakes.gunicorn_app:app",
        ]
        self.program = start(command=command, METRICS_PORT=str(self.metrics_port), **env)
        self._lock = threading.Lock()
        self.runs: Counter[int] = Counter()
        """Runs answered, by pid of the worker."""
        assert wait_for(lambda: self.get("/run"), START_S), self.program.errors

    def get(self, path: str) -> int | None:
        """Have a worker do something; return its pid, or None where none answered."""
        answer = fetch(self._port, path)
        if answer and path == "/run":
            with self._lock:  # several threads ask, and a count must not be lost between them
                self.runs[int(answer)] += 1
        return int(answer) if answer else None

    def use_workers(self, count: int) -> None:
        """Run agents until so many workers, in all, have answered."""

        def use() -> bool:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(self.get, ["/run"] * 4))
            return len(self.runs) >= count

        assert wait_for(use, START_S), self.program.errors

    def hang(self, victim: int) -> Counter[int]:
        """Begin endless runs until the victim has one; return their workers."""
        hung: Counter[int] = Counter()

        def begin() -> bool:
            with ThreadPoolExecutor(2) as pool:
                hung.update(pid for pid in pool.map(self.get, ["/hang"] * 2) if pid is not None)
            return victim in hung

        assert wait_for(begin), self.program.errors
        return hung

    def owner_of_metrics(self) -> int | None:
        """Worker that listens on the metrics port; None where the master does."""
        for pid in self.runs:
            for found in psutil.Process(pid).net_connections("tcp"):
                if (found.status, found.laddr.port) == (psutil.CONN_LISTEN, self.metrics_port):
                    return pid
        return None

    def hanging(self) -> float | None:
        return scrape(self.metrics_port, ACTIVE, workflow="hanging")

    def counted(self) -> float | None:
        return scrape(self.metrics_port, RUNS, workflow="job")

    def shows_all_runs(self) -> bool:
        return wait_for(lambda: self.counted() == self.runs.total())


class TestGunicorn:
    @pytest.fixture
    def site(self, start: Start, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
        shared = tmp_path / "shared"
        shared.mkdir()
        return Site(start, *request.param, **{SHARED_DIR: str(shared)})

    @pytest.mark.parametrize("site", [["--preload"], []], indirect=True, ids=["preload", "plain"])
    def test_one_port_answers_for_all(self, site: Site) -> None:
        site.use_workers(2)

        assert site.shows_all_runs(), (site.runs, site.counted(), site.program.errors)
        assert [] == site.program.warnings

    @pytest.mark.parametrize("site", [["--preload"], []], indirect=True, ids=["preload", "plain"])
    def test_killed_worker_is_still_counted_and_no_counter_falls(self, site: Site) -> None:
        site.use_workers(2)
        victim = site.owner_of_metrics() or min(site.runs)
        hung = site.hang(victim)
        assert site.shows_all_runs()
        assert wait_for(lambda: site.hanging() == hung.total())
        totals: list[float] = []

        def gauges_follow() -> bool:
            totals.extend(value for value in [site.counted()] if value is not None)
            return site.hanging() == hung.total() - hung[victim]

        os.kill(victim, signal.SIGKILL)
        site.use_workers(3)
        # Beside the victim's gauges, the port may need somebody to take it over.
        assert wait_for(gauges_follow, ALIVE_FOR_S + 5), (hung, site.hanging())
        assert site.shows_all_runs(), (site.runs, site.counted())
        assert sorted(totals) == totals

    def test_without_a_shared_directory_each_worker_warns_once(self, start: Start) -> None:
        site = Site(start, "--preload")
        site.use_workers(2)
        assert wait_for(lambda: len(site.program.warnings) == 2), site.program.errors

        ports = [int(line.rsplit(":", 1)[1]) for line in site.program.warnings]

        assert sorted(site.runs.values()) == sorted(int(scrape(p, RUNS) or 0) for p in ports)

    @pytest.mark.parametrize("site", [["--preload"]], indirect=True)
    def test_final_counts_outlive_a_graceful_stop_of_a_worker(self, site: Site) -> None:
        site.use_workers(2)
        os.kill(next(iter(site.runs)), signal.SIGTERM)
        site.use_workers(3)

        assert site.shows_all_runs(), (site.runs, site.counted(), site.program.errors)
