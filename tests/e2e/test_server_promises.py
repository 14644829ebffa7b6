"""What docs/server.md and docs/store.md promise about restarts, late spans, and who may read."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.process import Start, fetch, free_port, scrape, wait_for
from tests.fakes.run_senders import RunSenders, check_store, span_ids, trace_id
from tests.fakes.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

DAY_NS: Final = 86_400 * 10**9


class Site:
    """A data directory and whatever server has it now."""

    def __init__(self, start: Start, data: Path) -> None:
        self.data = data
        self._start = start
        self._ports = [free_port() for _ in range(3)]
        self.senders = RunSenders(http_port=self._ports[1], grpc_port=self._ports[2], threads=0)
        self.server = ServerProcess(start, data, ports=self._ports)

    def restart(self) -> None:
        assert 0 == self.server.stop()
        self.server = ServerProcess(self._start, self.data, ports=self._ports)

    def get(self, path: str) -> Any:
        return json.loads(fetch(self._ports[0], f"/api/v1/{path}"))

    def run(self, number: int) -> Any:
        """A run with its spans, or None."""
        runs = self.get("runs?since=1000h")["runs"]
        ids = [run["run_id"] for run in runs if run["trace_id"] == trace_id(number)]
        return self.get(f"runs/{ids[0]}") if ids else None

    def tokens(self, number: int) -> int:
        run = self.run(number)
        return run["run"]["total_tokens"] if run else 0

    def counted_calls(self) -> float | None:
        return scrape(self._ports[0], "agent_llm_calls_total")


@pytest.fixture
def site(start: Start, tmp_path: Path) -> Iterator[Site]:
    running = Site(start, tmp_path / "data")
    yield running
    assert 0 == running.server.stop()


def run_of_a_sealed_day(site: Site) -> int:
    """A run of yesterday whose last call has not come; the server was started anew since."""
    day = dt.datetime.fromtimestamp(site.senders.started_ns / 1e9 - 86_400, dt.UTC).date()
    site.senders.started_ns -= DAY_NS
    number = site.senders.number()
    site.senders.send(number, *span_ids(number)[:-1])
    assert wait_for(lambda: site.tokens(number) == 220, 30)
    site.restart()
    file = site.data / "store" / "spans" / f"{day}.parquet"
    assert wait_for(file.exists, 30)
    return number


def check_late_call(site: Site, number: int) -> None:
    site.senders.send(number, span_ids(number)[-1])
    assert wait_for(lambda: site.run(number)["span_count"] == 4, 30)
    assert (330, 3) == (site.tokens(number), site.run(number)["run"]["llm_calls"])


def test_late_call_amends_a_run_of_a_sealed_day(site: Site) -> None:
    site.senders.are_parallel = False
    check_late_call(site, run_of_a_sealed_day(site))


def test_late_call_within_another_just_like_it_counts(site: Site) -> None:
    check_late_call(site, run_of_a_sealed_day(site))


def test_spans_sent_again_after_a_restart_are_counted_once(site: Site) -> None:
    number = site.senders.send_whole()
    assert wait_for(lambda: site.tokens(number) == 330, 30)
    site.restart()
    for span_id in span_ids(number):
        site.senders.send(number, span_id)
    other = site.senders.send_whole()
    assert wait_for(lambda: site.tokens(other) == 330, 30)
    assert (330, 4) == (site.tokens(number), site.run(number)["span_count"])
    assert 3 == site.counted_calls()
    points = site.get("trends/usage?by=model&since=1h")["points"]
    assert 600 == sum(point["input_tokens"] for point in points)


def test_sigterm_loses_nothing(site: Site) -> None:
    for _ in range(100):
        site.senders.send_whole()
    site.restart()
    assert wait_for(lambda: "tocsin_journal_bytes 0.0" in site.server.metrics(), 30)
    assert 0 == site.server.stop()
    check_store(site.data, site.senders)


def test_only_its_user_can_read_the_data(site: Site) -> None:
    site.senders.send_whole()
    assert 0o700 == site.data.stat().st_mode & 0o777
    for path in (site.data / "journal", site.data / "store", *site.data.rglob("*.journal")):
        assert 0 == path.stat().st_mode & 0o077, path
