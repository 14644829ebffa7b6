"""What a program counts itself and what a server counts of its export are the same."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_sdk_scenarios import ROWS, run_watched
from tests.fakes.counts import Page
from tests.fakes.otlp_receiver import Receiver, server_families
from tests.fakes.process import Start, fetch, free_port, scrape, starting, wait_for
from tocsin.app.export import exporter
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import FakeLLM
from tocsin.meters.catalogue import MetricType
from tocsin.meters.registry import Family

LEFT_BEHIND = "call left behind"
RUNS = "agent_workflow_runs_total"


@pytest.mark.parametrize("watch_runner", [True, False], ids=["watched runner", "spans alone"])
@pytest.mark.parametrize("name", ROWS)
def test_server_counts_what_the_program_counts(
    name: str, watch_runner: bool, watch: Callable[..., Watcher], llm: FakeLLM
) -> None:
    with Receiver() as receiver:
        watcher = watch(watch_runner=watch_runner)
        watcher.export(exporter(receiver.url))
        local = run_watched(ROWS[name], watcher, llm)
        watcher.close()
        families = server_families(receiver.received)

    assert local == Page(families).counts()
    expected, found = series(watcher.registry.collect()), series(families)
    if name == LEFT_BEHIND:
        # The server waits for late spans and adds their cost to their run; here, the run is over.
        for histograms in (expected[1], found[1]):
            del histograms["agent_workflow_cost_dollars", "Agent workflow"]
    assert expected == found


def series(families: Iterable[Family]) -> tuple[dict[tuple[str, ...], Any], ...]:
    """Every counter above 0 and every histogram of the agents', by name and labels."""
    known = [f for f in families if f.metric.name.startswith("agent_")]
    counters = {
        (family.metric.name, *labels): pytest.approx(value)
        for family in known
        if family.metric.type is MetricType.COUNTER
        for labels, value in family.values.items()
        if value
    }
    histograms = {
        (family.metric.name, *labels): (list(one.counts), pytest.approx(one.sum, abs=1e-6))
        for family in known
        for labels, one in family.distributions.items()
    }
    return counters, histograms


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as run:
        yield run


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_server_counts_what_all_workers_did(start: Start, tmp_path: Path, method: str) -> None:
    port, otlp = free_port(), free_port()
    command = [sys.executable, "-m", "tocsin", "serve", "--data", str(tmp_path / "data")]
    addresses = {"--listen": port, "--otlp-http": otlp, "--otlp-grpc": 0}
    for option, number in addresses.items():
        command += [option, f"127.0.0.1:{number}"]
    server = start(command=command)
    assert wait_for(lambda: fetch(port, "/metrics"), 30), server.errors

    program = start("export_from_workers", method, f"http://127.0.0.1:{otlp}")

    assert 0 == program.exit_code(60), program.errors
    assert "" == program.errors
    assert wait_for(lambda: scrape(port, RUNS, outcome="ok") == 3 * 4, 20), fetch(port, "/metrics")
    assert 3 * 4 * 10 == scrape(port, "agent_tokens_total", direction="input")
    assert 3 * 4 == scrape(port, "agent_workflow_turns_count")
