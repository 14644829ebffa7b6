"""The client of a server's budgets: what it makes of answers, good and bad."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.fakes.process import free_port, wait_for
from tocsin.app import budget_client as budget_client_module
from tocsin.app.budget_client import BudgetClient, budget_server
from tocsin.app.install import install
from tocsin.app.watcher import Watcher
from tocsin.clock import SYSTEM_CLOCK
from tocsin.errors import ConfigError
from tocsin.guard.account import Ledger
from tocsin.guard.budget_account import BudgetRoom
from tocsin.guard.budgets import Budget
from tocsin.guard.periods import Calendar, Period
from tocsin.meters import catalogue as m

D = Decimal
BUDGET: dict[str, Any] = {
    "name": "all",
    "limit_usd": "10",
    "per": "day",
    "timezone": "UTC",
    "workflow": [],
    "model": [],
    "agent": [],
    "tags": {},
    "alert_at": ["0.5"],
    "stop_at": "1",
    "on_failure": "closed",
    "period_start": "",
    "period_end": "",
    "spent_usd": None,
    "leased_usd": "0",
    "left_usd": None,
    "unpriced_calls": 0,
    "workers": 0,
    "pace": None,
    "yesterday": None,
}


class FakeServer:
    """Answers with what it is told to; grants everything unless told otherwise."""

    def __init__(self) -> None:
        self.budgets: list[Any] = [BUDGET]
        self.asked: list[Any] = []
        self.spoil: Callable[[bytes], tuple[int, bytes]] = lambda body: (200, body)
        self.headers: list[Mapping[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.say({"now": "", "budgets": fake.budgets})

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fake.asked.append(asked)
                self.say(fake.grant(asked))

            def say(self, document: Any) -> None:
                fake.headers.append(dict(self.headers))
                code, body = fake.spoil(json.dumps(document).encode())
                self.send_response(code)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def grant(self, asked: Any) -> Any:
        leases = [
            {
                "budget": entry["budget"],
                "period": entry["period"],
                "granted_usd": str(D(entry["used_usd"]) + D(entry["room_usd"])),
                "reach_usd": "10",
            }
            for entry in asked["budgets"]
        ]
        return {"seq": asked["seq"], "now": "", "expires_s": 30.0, "budgets": leases}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


class Kept:
    """Who is told of budgets."""

    def __init__(self) -> None:
        self.rooms: dict[str, BudgetRoom] = {}
        self.told: list[Budget] = []
        self.ledger = Ledger()

    def add(self, budgets: Sequence[Budget], rooms: Mapping[str, BudgetRoom]) -> None:
        assert {budget.name for budget in budgets} == set(rooms)
        self.told += budgets
        self.rooms |= rooms

    def granted(self, name: str = "all") -> Decimal:
        with self.ledger.lock:
            return self.rooms[name].granted_usd(today())

    def asks(self, usd: int, name: str = "all") -> bool:
        """Ask as a call without room does; whether it came."""
        with self.ledger.lock:
            self.rooms[name].ask(today(), D(usd))
        return wait_for(lambda: self.granted(name) >= usd, 3)

    def spends(self, usd: int) -> None:
        with self.ledger.lock:
            self.rooms["all"].used(today(), D(usd), D(0))


def today() -> Period:
    return Calendar("day", Budget("x", limit=1).zone).period(SYSTEM_CLOCK.wall_ns())


@pytest.fixture
def kept() -> Kept:
    return Kept()


Make = Callable[..., BudgetClient]


@pytest.fixture
def make(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(budget_client_module, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(budget_client_module, "TIMEOUT_S", 0.5)
    made: list[BudgetClient] = []

    def start(url: str, headers: Mapping[str, str] | None = None) -> BudgetClient:
        made.append(BudgetClient(budget_server(url), headers or {}, kept.add, kept.ledger))
        return made[-1]

    yield start
    for client in made:
        client.close(time.monotonic() + 2)


def test_learns_what_budgets_there_are_and_leases_them(
    server: FakeServer, make: Make, kept: Kept
) -> None:
    server.budgets.append(BUDGET | {"name": "team", "stop_at": None})
    assert make(server.url, {"authorization": "Bearer x"}).start(5)

    assert {"all", "team"} == set(kept.rooms)
    assert kept.asks(3)
    assert {"Bearer x"} == {headers.get("authorization") for headers in server.headers}


def test_reports_at_the_end(server: FakeServer, make: Make, kept: Kept) -> None:
    client = make(server.url)
    assert client.start(5)
    assert kept.asks(3)
    kept.spends(2)
    client.close(time.monotonic() + 5)

    last = server.asked[-1]["budgets"][0]
    assert ("2", "2", "0") == (last["used_usd"], last["holds_usd"], last["room_usd"])
    assert [asked["seq"] for asked in server.asked] == sorted({a["seq"] for a in server.asked})


def test_a_budget_that_cannot_be_kept_here_costs_no_other(
    server: FakeServer, make: Make, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    server.budgets.insert(0, BUDGET | {"name": "odd", "timezone": "Mars/Base"})
    assert make(server.url).start(5)

    assert {"all"} == set(kept.rooms)
    assert "Mars/Base" in caplog.text


def too_late(body: bytes) -> tuple[int, bytes]:
    time.sleep(0.8)
    return 200, body


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda body: (500, b"no"), id="error"),
        pytest.param(lambda body: (400, body), id="refusal"),
        pytest.param(lambda body: (200, b"<html>"), id="another kind"),
        pytest.param(lambda body: (200, b"[" * 100_000), id="nested"),
        pytest.param(lambda body: (200, b"{}"), id="empty"),
        pytest.param(lambda body: (200, body.replace(b'"3"', b'"NaN"')), id="no amount"),
        pytest.param(lambda body: (200, body.replace(b'"all"', b'"al"')), id="another budget"),
        pytest.param(lambda body: (200, body.replace(b"30.0", b'"x"')), id="no time"),
        pytest.param(lambda body: (200, body.replace(b"30.0", b"1e300")), id="endless"),
        pytest.param(lambda body: (200, body.replace(b"30.0", b"-1")), id="over before"),
        pytest.param(too_late, id="late"),
    ],
)
def test_a_bad_answer_is_none_and_the_next_good_one_counts(
    server: FakeServer, make: Make, kept: Kept, spoil: Any
) -> None:
    client = make(server.url)
    assert client.start(5)
    server.spoil = spoil
    with kept.ledger.lock:
        kept.rooms["all"].ask(today(), D(3))
    assert wait_for(lambda: client.totals()[m.LEASE_FAILURES, ()], 5)
    assert 0 == kept.granted()

    server.spoil = lambda body: (200, body)
    assert kept.asks(3)


def test_waits_for_a_server_that_is_not_there_yet(make: Make, kept: Kept) -> None:
    client = make(f"http://127.0.0.1:{free_port()}")

    assert not client.start(0.2)
    assert {} == kept.rooms


def test_a_budget_that_the_server_forgot_holds_nobody(
    server: FakeServer, make: Make, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_client_module, "REFRESH_S", 0.05)
    assert make(server.url).start(5)
    server.budgets.clear()

    assert wait_for(lambda: kept.granted() > 1000, 5)


def test_other_amounts_are_kept_and_another_scope_is_not(
    server: FakeServer,
    make: Make,
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(budget_client_module, "REFRESH_S", 0.05)
    assert make(server.url).start(5)
    room = kept.rooms["all"]
    server.budgets[:] = [BUDGET | {"limit_usd": "20"}]
    assert wait_for(lambda: len(kept.told) == 2, 5)
    server.budgets[:] = [BUDGET | {"limit_usd": "20", "model": ["m"]}]
    assert wait_for(lambda: "covers something else now" in caplog.text, 5)

    assert [D(10), D(20)] == [budget.limit for budget in kept.told]
    assert room is kept.rooms["all"]


def test_a_forked_child_is_another_worker(
    server: FakeServer, make: Make, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(server.url)
    assert client.start(5)
    assert kept.asks(3)
    monkeypatch.setattr(budget_client_module, "instance_id", lambda: "child")
    client.reset_after_fork()

    assert 0 == kept.granted()
    assert kept.asks(2)
    assert "child" == server.asked[-1]["worker"]


@pytest.mark.parametrize("url", [3, "ftp://x", "http://", "http://u:p@h", "http://h/?q"])
def test_an_address_that_is_none(url: Any) -> None:
    with pytest.raises(ConfigError, match="budgets_from: "):
        install(budgets_from=url)


def test_needs_the_runner(server: FakeServer) -> None:
    watcher = Watcher(watch_runner=False)
    with pytest.raises(ConfigError, match="watch_runner"):
        watcher.lease_budgets(budget_server(server.url), {})
    watcher.close()
