"""The demo for real, from the command line to the last scrape."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from agents.tracing import get_trace_provider, set_trace_processors
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tocsin.lab.demo.demo import Demo, Options
from tocsin.lab.demo.figures import Snapshot, flow_figures
from tocsin.lab.demo.screen import PlainScreen
from tocsin.lab.demo.stage import perform
from tocsin.lab.demo.stop import StopSignal
from tocsin.lab.fleet.arrivals import MIX

pytestmark = pytest.mark.slow

METRICS = re.compile(r"http://127\.0\.0\.1:\d+/metrics")
COMMAND = (sys.executable, "-m", "tocsin", "demo", "--port", "0", "--plain", "--seed", "1")


def summed_up(text: str) -> dict[str, int]:
    """Workflow -> finished runs, from the summary's first table."""
    lines = text[text.index("Runs by outcome") :].splitlines()
    return {name: int(next(x for x in lines if x.startswith(name)).split()[1]) for name in MIX}


def scraped(url: str) -> dict[str, int] | None:
    """Workflow -> finished runs, from /metrics; None once nobody answers."""
    try:
        with urlopen(url, timeout=5.0) as response:
            page = response.read().decode()
    except (URLError, ConnectionError):
        return None
    runs = dict.fromkeys(MIX, 0)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "agent_workflow_runs_total":
                runs[sample.labels["workflow"]] += int(sample.value)
    return runs


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until_metrics(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read the child's output up to where it names its /metrics; return the address too."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if found := METRICS.search(line):
            return text, found.group()
    raise AssertionError(text)


def test_summary_agrees_with_the_last_scrape() -> None:
    with child("--seconds", "6") as process:
        head, url = read_until_metrics(process)
        last = scraped(url)
        assert last is not None
        while (runs := scraped(url)) is not None:
            assert all(last[name] <= runs[name] for name in MIX), "a counter went down"
            last = runs
            time.sleep(0.02)
        rest, errors = process.communicate(timeout=20)

    final = summed_up(head + rest)
    assert (0, "") == (process.returncode, errors)
    assert sum(final.values()) > 3
    # Whatever ended between the last scrape and the end came on top, and was not much.
    assert all(last[name] <= final[name] for name in MIX)
    assert sum(final.values()) - sum(last.values()) <= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_the_summary(number: signal.Signals) -> None:
    with child() as process:
        head, _ = read_until_metrics(process)
        time.sleep(1.0)
        began_s = time.monotonic()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)

    assert (0, "") == (process.returncode, errors)
    assert summed_up(head + rest)
    assert "Ended." in rest
    assert time.monotonic() - began_s < 6.0


@pytest.fixture
def restore_processors() -> Iterator[None]:
    before = list(getattr(get_trace_provider(), "_multi_processor")._processors)  # noqa: B009
    yield
    set_trace_processors(before)


@pytest.fixture
def perform_demo(restore_processors: None) -> Callable[[Options], tuple[Demo, str]]:
    def go(options: Options) -> tuple[Demo, str]:
        console = Console(file=io.StringIO(), width=100)
        demo = Demo(options)
        with StopSignal() as stop, PlainScreen(console, demo.draw) as screen:
            perform(demo, screen, stop)
        console.print(demo.sum_up(100))
        assert isinstance(console.file, io.StringIO)
        return demo, console.file.getvalue()

    return go


def test_summary_shows_what_the_registry_holds(
    perform_demo: Callable[[Options], tuple[Demo, str]],
) -> None:
    demo, text = perform_demo(Options(seconds=4.0, rate=3.0, port=0))

    now = Snapshot(demo.families())
    expected = {name: flow_figures(now, name, wall_s=0.0).runs for name in MIX}
    assert expected == summed_up(text)
    assert sum(expected.values()) > 4
    assert "Dropped: 0 of" in text


def test_taken_port_is_said_and_another_shown(
    perform_demo: Callable[[Options], tuple[Demo, str]],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _, text = perform_demo(Options(seconds=0.5, port=port))

    found = METRICS.search(text)
    assert f"warning: port {port}" in text
    assert found is not None
    assert str(port) not in found.group()
