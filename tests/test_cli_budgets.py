"""`tocsin budgets` as people and programs call it; the server is a process of its own."""

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal

import msgspec
import pytest

from tests.fakes.process import fetch, starting, wait_for
from tests.fakes.serving import serve, tocsin
from tests.fakes.stored import fill, stored_call
from tocsin.guard.periods import Calendar
from tocsin.model.amounts import UNKNOWN
from tocsin.store.base import Batch
from tocsin.store.charges import Charge

pytestmark = pytest.mark.slow

CONFIG = """\
budgets:
  - {name: all, limit: 50 USD, per: month, stop_at: 120%}
  - {name: mine, limit: 2 USD, per: month, model: my-model}
  - {name: new, limit: 10 USD, per: month, agent: helper}
"""
SPENT: dict[str, list[Decimal | None]] = {
    "all": [Decimal("42.5"), Decimal("0.25"), None],
    "mine": [None],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("budgets")
    config = directory / "tocsin.yaml"
    config.write_text(CONFIG)
    slot_s = int(time.time()) // 900 * 900
    month_ns = Calendar("month", UTC).period(time.time_ns()).start_ns
    charges = tuple(
        Charge(budget, month_ns, slot_s, "", usd)
        for budget, costs in SPENT.items()
        for usd in costs
    )
    span = msgspec.structs.replace(stored_call("r", "c"), charges=charges)
    fill(directory / "data" / "store", Batch(spans=[span]))
    with starting(directory) as start:
        _, places = serve(start, directory / "data", "--config", str(config))
        yield f"http://{places['HTTP']}"


@pytest.mark.e2e
def test_table(url: str) -> None:
    ran = tocsin("budgets", "--url", url)
    assert (0, "") == (ran.returncode, ran.stderr)
    lines = [" ".join(line.split()).replace(UNKNOWN, "-") for line in ran.stdout.splitlines()]
    month = time.strftime("month %b %Y UTC", time.gmtime())
    assert lines == [
        "Budget Period Spent Limit Used Leased Left At this pace Like yesterday Unpriced",
        "─" * len(ran.stdout.splitlines()[1].strip()),
        f"all {month} $42.75+ $50.00 86% $0 $7.25 - - 1",
        f"mine {month} - $2.00 - - - - - 1",
        f"new {month} $0 $10.00 0% - $10.00 - - 0",
    ]


@pytest.mark.e2e
def test_json_is_what_the_api_says(url: str) -> None:
    ran = tocsin("budgets", "--url", url, "--json")
    with urllib.request.urlopen(f"{url}/api/v1/budgets") as answer:
        assert json.load(answer)["budgets"] == json.loads(ran.stdout)["budgets"]


@pytest.mark.e2e
def test_metrics_show_the_same(url: str) -> None:
    port = int(url.rpartition(":")[2])
    spent = 'agent_budget_spent_dollars{budget="all"} 42.75\n'
    assert wait_for(lambda: spent in fetch(port, "/metrics"))
    page = fetch(port, "/metrics")
    assert 'agent_budget_leased_dollars{budget="all"} 0.0\n' in page
    assert 'agent_budget_limit_dollars{budget="all"} 50.0\n' in page
    assert 'agent_budget_spent_dollars{budget="mine"}' not in page


@pytest.mark.e2e
def test_where_no_server_answers() -> None:
    ran = tocsin("budgets", "--url", "http://127.0.0.1:1")
    assert 1 == ran.returncode
    assert "tocsin budgets: no Tocsin server answers at http://127.0.0.1:1" in ran.stderr
