"""Kill -9 of the whole server: what it acknowledged is stored exactly once, as whole runs."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.process import Start, fetch, free_port, wait_for
from tests.fakes.run_senders import CALLS, RunSenders, span_ids, trace_id
from tests.fakes.server_process import ServerProcess
from tocsin.model.run import Run
from tocsin.store.base import RunQuery
from tocsin.store.embedded.store import EmbeddedStore

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(400)]

KILLS: Final = 30
UNREADY: Final = 3
"""Every third server is killed without waiting for it to listen."""


def test_acknowledged_spans_are_stored_once_and_their_runs_whole(
    start: Start, tmp_path: Path
) -> None:
    dice = random.Random(7)
    data, ports = tmp_path / "data", [free_port() for _ in range(3)]
    senders = RunSenders(http_port=ports[1], grpc_port=ports[2])
    for number in range(KILLS):
        is_awaited = number % UNREADY != UNREADY - 1
        server = ServerProcess(start, data, ports=ports, is_awaited=is_awaited)
        if is_awaited:
            senders.finish_all()
            senders.begin()
        time.sleep(dice.uniform(0.0, 1.2))
        server.kill()
    server = ServerProcess(start, data, ports=ports)
    senders.stop()
    assert wait_for(lambda: "tocsin_journal_bytes 0.0" in server.metrics(), 60), server.metrics()
    assert 0 == server.stop()

    assert len(senders.acknowledged) > 100
    assert {"http", "grpc"} == set(senders.acknowledged.values())
    check_store(data, senders)


def test_run_whose_calls_were_stored_before_a_kill_is_whole(start: Start, tmp_path: Path) -> None:
    data, ports = tmp_path / "data", [free_port() for _ in range(3)]
    server = ServerProcess(start, data, ports=ports)
    senders = RunSenders(http_port=ports[1], grpc_port=ports[2], threads=0)
    number = senders.begin()
    usage = "/api/v1/trends/usage?by=model&since=1h"
    assert wait_for(lambda: '"input_tokens":300' in fetch(ports[0], usage), 60)
    server.kill()
    server = ServerProcess(start, data, ports=ports)
    senders.stop()
    runs = "/api/v1/runs?since=1h"
    assert wait_for(lambda: trace_id(number) in fetch(ports[0], runs), 60)
    assert 0 == server.stop()
    check_store(data, senders)


def check_store(data: Path, senders: RunSenders) -> None:
    store = EmbeddedStore(data / "store", read_only=True)
    runs = all_runs(store)
    by_trace = {run.trace_id: run for run in runs}
    traces = {trace_id(number): number for number in senders.acknowledged}
    spans = store.of_traces(list(traces), senders.started_ns)
    store.close()
    assert Counter(run.trace_id for run in runs) == Counter(by_trace.keys())
    assert set() == traces.keys() - by_trace.keys()
    right = (CALLS, CALLS * 100, CALLS * 10)
    assert dict.fromkeys(traces, right) == {trace: totals(by_trace[trace]) for trace in traces}
    expected = [(trace, id_) for trace, number in traces.items() for id_ in span_ids(number)]
    assert Counter(expected) == Counter((s.span.trace_id, s.span.span_id) for s in spans)


def all_runs(store: EmbeddedStore) -> list[Run]:
    runs, cursor = [], None
    while True:
        page = store.runs(RunQuery(limit=500, cursor=cursor))
        runs += [stored.run for stored in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            return runs


def totals(run: Run) -> tuple[int, int, int]:
    return run.llm_calls, run.input_tokens, run.output_tokens
