"""`tocsin slas` as people and programs call it; the server is a process of its own."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.fakes.clock import NOON_NS
from tests.fakes.process import starting
from tests.fakes.serving import serve, tocsin
from tests.fakes.stored import fill, moved, stored_run
from tocsin.model.amounts import UNKNOWN
from tocsin.model.run import Outcome
from tocsin.store.base import Batch

pytestmark = pytest.mark.slow

CONFIG = """\
workflows:
  support:
    sla: {latency: 15s, cost: 0.50 USD, success: 75%, window: 7d}
  quiet:
    sla: {turns: 3}
"""
RUNS = Batch(
    runs=[
        *[stored_run(f"ok{n}", workflow="support", at_s=-60) for n in range(6)],
        stored_run("slow", workflow="support", at_s=-60, lasts_s=16, unpriced_calls=1),
        stored_run("bad", workflow="support", at_s=-2 * 86_400, outcome=Outcome.ERROR),
    ]
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("slas")
    config = directory / "tocsin.yaml"
    config.write_text(CONFIG)
    fill(directory / "data" / "store", moved(RUNS, time.time_ns() - NOON_NS))
    with starting(directory) as start:
        _, places = serve(start, directory / "data", "--config", str(config))
        yield f"http://{places['HTTP']}"


@pytest.mark.e2e
def test_table(url: str) -> None:
    ran = tocsin("slas", "--url", url)
    assert (0, "") == (ran.returncode, ran.stderr)
    lines = [" ".join(line.split()).replace(UNKNOWN, "-") for line in ran.stdout.splitlines()]
    assert lines == [
        "Workflow Limit Target Hour Day Window Budget left Burn",
        "─" * len(ran.stdout.splitlines()[1].strip()),
        "quiet success - - - - in 30d - -",
        "turns ≤ 3 - - - - in 30d - -",
        "support success 75 % 100 % 100 % 87.5 % in 7d 50 % 0.0",
        "latency ≤ 15.0 s 75 % 85.714 % 85.714 % 87.5 % in 7d 50 % 0.6",
        "cost ≤ $0.500 75 % 100 % 100 % 100 % in 7d 100 % 0.0",
    ]


@pytest.mark.e2e
def test_for_programs(url: str) -> None:
    found = json.loads(tocsin("slas", "--url", url, "--workflow", "support", "--json").stdout)
    cost = found["slas"][-1]
    assert ("support", "cost", 0.5, 0.75) == (
        *(cost["workflow"], cost["limit"], cost["threshold"], cost["target"]),
    )
    assert (7, 0, 1) == tuple(cost["windows"][-1][key] for key in ("within", "beyond", "unknown"))


@pytest.mark.e2e
def test_without_levels(url: str) -> None:
    ran = tocsin("slas", "--url", url, "--workflow", "nope")
    assert "no service levels: none is set, or not for this workflow\n" == ran.stdout


def test_no_server() -> None:
    ran = tocsin("slas", "--url", "http://127.0.0.1:1")
    expected = "tocsin slas: no Tocsin server answers at http://127.0.0.1:1: Connection refused\n"
    assert (1, expected) == (ran.returncode, ran.stderr)


def test_an_address_that_is_none() -> None:
    assert 1 == tocsin("slas", "--url", "localhost:8001").returncode
