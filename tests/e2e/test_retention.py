"""Past days are sealed and dropped, however busy the server is."""

import datetime as dt
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.otlp import otlp_span, request
from tests.fakes.process import Start, starting, wait_for
from tests.fakes.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

DAY_NS = 86_400 * 10**9
PROTOBUF = {"content-type": "application/x-protobuf"}
numbers = itertools.count(1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as run:
        yield run


def send(server: ServerProcess, *, days_ago: int) -> None:
    """Send a run of one span."""
    number = next(numbers)
    started_ns = time.time_ns() - days_ago * DAY_NS
    span = otlp_span(
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        start_time_unix_nano=started_ns,
        end_time_unix_nano=started_ns + 1,
        attributes={"gen_ai.operation.name": "invoke_agent"},
    )
    body = request(span).SerializeToString()
    url = f"http://{server.addresses['OTLP/HTTP']}/v1/traces"
    assert 200 == httpx.post(url, content=body, headers=PROTOBUF, timeout=30).status_code


def run_days(server: ServerProcess) -> list[str]:
    url = f"http://{server.addresses['HTTP']}/api/v1/runs"
    return [run["started_at"][:10] for run in httpx.get(url, timeout=30).json()["runs"]]


def test_past_days_are_sealed_though_bodies_never_cease_to_come_in(
    start: Start, tmp_path: Path
) -> None:
    server = ServerProcess(start, tmp_path / "data")
    send(server, days_ago=2)
    assert wait_for(lambda: run_days(server), 30)
    assert 0 == server.stop()

    server = ServerProcess(start, tmp_path / "data")

    def is_sealed_meanwhile() -> bool:
        send(server, days_ago=0)
        return any((tmp_path / "data" / "store" / "spans").glob("*.parquet"))

    assert wait_for(is_sealed_meanwhile, 30)
    assert 0 == server.stop()


def test_runs_beyond_retention_are_dropped_also_when_they_come_late(
    start: Start, tmp_path: Path
) -> None:
    server = ServerProcess(start, tmp_path / "data")
    for days_ago in (40, 20):
        send(server, days_ago=days_ago)
    assert wait_for(lambda: len(run_days(server)) == 2, 30)
    assert 0 == server.stop()

    server = ServerProcess(start, tmp_path / "data")
    assert wait_for(lambda: len(run_days(server)) == 1, 30)
    kept = dt.datetime.now(dt.UTC) - dt.timedelta(days=20)
    assert run_days(server)[0] in {str((kept - dt.timedelta(minutes=5)).date()), str(kept.date())}
    assert 0 == server.stop()
