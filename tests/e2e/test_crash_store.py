"""Kill -9 of the whole server: what it acknowledged is stored exactly once, as whole runs."""

import random
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from tests.fakes.process import Start, starting, wait_for
from tests.fakes.server_process import ServerProcess
from tocsin.store.base import RunQuery
from tocsin.store.embedded.store import EmbeddedStore

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(400)]

KILLS = 30
MS = 1_000_000


def request(trace: int, span_ids: list[str], started_ns: int) -> bytes:
    """Some of a trace's four spans: a run (id ends in 0) and three priced calls below it."""
    spans = [span(trace, span_id, started_ns) for span_id in span_ids]
    scope = {"scope": {"name": "test"}, "spans": spans}
    return msgspec.json.encode({"resourceSpans": [{"scopeSpans": [scope]}]})


def span(trace: int, span_id: str, started_ns: int) -> dict[str, Any]:
    number = int(span_id[-1])
    attributes: dict[str, Any] = {"gen_ai.operation.name": "invoke_workflow"}
    if number:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
        }
    return {
        "traceId": f"{trace + 1:032x}",
        "spanId": span_id,
        "parentSpanId": "" if number == 0 else span_id[:-1] + "0",
        "name": "flow",
        "startTimeUnixNano": str(started_ns + number * MS),
        "endTimeUnixNano": str(started_ns + 10 * MS),
        "attributes": [
            {"key": key, "value": {"intValue": v} if isinstance(v, int) else {"stringValue": v}}
            for key, v in attributes.items()
        ],
    }


class Senders:
    """Threads that send each trace in two bodies, children first, until both are acknowledged."""

    def __init__(self) -> None:
        self.address = ""
        self.acknowledged: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                trace, self._next = self._next, self._next + 1
            started_ns = time.time_ns()
            ids = [f"{trace + 1:015x}{n}" for n in range(4)]
            for part in (ids[1:], ids[:1]):
                while not self._post(request(trace, part, started_ns)):
                    time.sleep(0.05)
            with self._lock:
                self.acknowledged.add(trace)
            time.sleep(0.005)

    def _post(self, body: bytes) -> bool:
        call = urllib.request.Request(
            f"http://{self.address}/v1/traces", body, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(call, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def start(tmp_path: Path) -> Any:
    with starting(tmp_path) as run:
        yield run


def test_acknowledged_spans_are_stored_once_and_their_runs_whole(
    start: Start, tmp_path: Path
) -> None:
    dice = random.Random(7)
    data = tmp_path / "data"
    senders: Senders | None = None
    for _ in range(KILLS):
        server = ServerProcess(start, data)
        if senders is None:
            senders = Senders()
        senders.address = server.addresses["OTLP/HTTP"]
        time.sleep(dice.choice((0.0, 0.1, 0.4, 0.9, 1.6)) + dice.uniform(0, 0.4))
        server.program.process.kill()
        server.program.process.wait(10)
    assert senders is not None
    server = ServerProcess(start, data)
    senders.address = server.addresses["OTLP/HTTP"]
    time.sleep(1)
    senders.stop()
    assert wait_for(lambda: "tocsin_journal_bytes 0.0" in server.metrics(), 60), server.metrics()
    assert 0 == server.stop()

    assert len(senders.acknowledged) > 100
    check_store(data, senders.acknowledged)


def check_store(data: Path, acknowledged: set[int]) -> None:
    store = EmbeddedStore(data / "store", read_only=True)
    runs, cursor = [], None
    while True:
        page = store.runs(RunQuery(limit=500, cursor=cursor))
        runs += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
    by_trace = {int(stored.run.trace_id, 16) - 1: stored.run for stored in runs}
    assert len(runs) == len(by_trace)
    assert set() == acknowledged - by_trace.keys()
    wrong = [trace for trace in acknowledged if (3, 300, 30) != totals(by_trace[trace])]
    assert [] == wrong
    for trace in sorted(acknowledged)[:: max(1, len(acknowledged) // 50)]:
        view = store.run(by_trace[trace].run_id)
        assert view is not None
        assert 4 == len({stored.span.span_id for stored in view.spans}) == len(view.spans)
    store.close()
    with duckdb.connect(str(data / "store" / "tocsin.duckdb"), read_only=True) as database:
        counted = database.execute(
            "SELECT count(*), count(DISTINCT (trace_id, span_id)), count(DISTINCT trace_id)"
            " FROM spans"
        ).fetchone()
    assert counted is not None
    spans, distinct, traces = counted
    assert spans == distinct
    assert len(acknowledged) <= traces


def totals(run: Any) -> tuple[int, int, int]:
    return run.llm_calls, run.input_tokens, run.output_tokens
