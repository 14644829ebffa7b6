"""Budgets and leases over HTTP: as a worker asks, and as nobody should."""

import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fakes.clock import ManualClock
from tests.fakes.mutations import mutate, mutate_json
from tocsin.api.budgets import BudgetRoutes
from tocsin.guard.budgets import Budget
from tocsin.guard.leases import Terms
from tocsin.guard.wire import BudgetsDocument
from tocsin.serve.budget_desk import BudgetDesk
from tocsin.store.embedded.store import EmbeddedStore

TODAY = "2026-06-01T00:00:00Z"
BUDGETS = (
    Budget("all", limit="10 USD", stop_at="120%", alert_at=(0.5, 1)),
    Budget(
        "acme",
        limit=5,
        per="month",
        timezone="Europe/Berlin",
        workflow="support",
        model=["gpt-4o", "gpt-4o-mini"],
        tags={"customer": "acme"},
        on_failure="closed",
    ),
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    store, clock = EmbeddedStore(tmp_path), ManualClock()
    desk = BudgetDesk(BUDGETS, store, clock=clock, terms=Terms(max_workers=3))
    routes = BudgetRoutes(desk, clock=clock)
    with TestClient(Starlette(routes=routes.routes)) as client:
        yield client
    routes.close()
    store.close()


def entry(**fields: Any) -> dict[str, Any]:
    return {"budget": "all", "period": TODAY, "used_usd": "0"} | fields


def ask(client: TestClient, *entries: Any, worker: Any = "w", seq: Any = 1) -> Any:
    body = {"worker": worker, "seq": seq, "budgets": list(entries)}
    return client.post("/api/v1/budgets/leases", content=json.dumps(body))


def test_budgets_are_described_so_that_a_worker_can_make_them(client: TestClient) -> None:
    answer = client.get("/api/v1/budgets")
    assert 200 == answer.status_code
    found = msgspec.json.decode(answer.content, type=BudgetsDocument)
    assert "2026-06-01T12:00:00Z" == found.now
    assert list(BUDGETS) == [document.budget() for document in found.budgets]
    assert ("2026-05-31T22:00:00Z", "2026-06-30T22:00:00Z") == (
        found.budgets[1].period_start,
        found.budgets[1].period_end,
    )
    assert ("0", "10", None) == (
        found.budgets[0].spent_usd,
        found.budgets[0].left_usd,
        found.budgets[0].pace,
    )


def test_a_worker_gets_a_lease(client: TestClient) -> None:
    answer = ask(client, entry(used_usd="0.0000001", room_usd="0.5"), seq=4)
    assert 200 == answer.status_code
    assert {
        "seq": 4,
        "now": "2026-06-01T12:00:00Z",
        "expires_s": 60.0,
        "budgets": [
            {"budget": "all", "period": TODAY, "granted_usd": "0.5000001", "reach_usd": "12"}
        ],
    } == answer.json()
    shown = client.get("/api/v1/budgets").json()["budgets"][0]
    assert ("0.0000001", "0.5", 1) == (shown["spent_usd"], shown["leased_usd"], shown["workers"])


def test_a_worker_may_report_on_nothing(client: TestClient) -> None:
    assert [] == ask(client).json()["budgets"]


@pytest.mark.parametrize(
    ("entries", "fields", "reason"),
    [
        ([entry(used_usd="NaN")], {}, "used_usd: 'NaN' is not an amount"),
        ([entry(used_usd="-1")], {}, "used_usd: '-1' is not an amount"),
        ([entry(holds_usd="Infinity")], {}, "holds_usd"),
        ([entry(room_usd="1000000")], {}, "room_usd"),
        ([entry(room_usd="1e999999")], {}, "room_usd"),
        ([entry(need_usd="9" * 41)], {}, "length <= 40"),
        ([entry(used_usd=1)], {}, "Expected `str`"),
        ([entry(budget="x")], {}, "there is no budget 'x'; there are all, acme"),
        ([entry(budget="x" * 129)], {}, "length <= 128"),
        ([entry(period="now")], {}, "'now' is not a time"),
        ([entry(period="2026-06-01T01:00:00Z")], {}, "no day of budget 'all' begins then"),
        ([entry(), entry()], {}, "one is named twice"),
        ([{}], {}, "missing required field `budget`"),
        ([None], {}, "Expected `object`"),
        ([entry()] * 1001, {}, "length <= 1000"),
        ([], {"worker": ""}, "worker"),
        ([], {"worker": "a b"}, "worker"),
        ([], {"worker": "w" * 65}, "worker"),
        ([], {"worker": None}, "worker"),
        ([], {"seq": -1}, "seq"),
        ([], {"seq": 1 << 53}, "seq"),
        ([], {"seq": 1.5}, "seq"),
    ],
)
def test_says_what_is_wrong(
    client: TestClient, entries: list[Any], fields: dict[str, Any], reason: str
) -> None:
    answer = ask(client, *entries, **fields)
    assert 400 == answer.status_code, answer.text
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"1"])
def test_a_body_that_is_none(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/v1/budgets/leases", content=body)
    assert 400 == answer.status_code
    assert "this is no request for leases" in answer.json()["error"]


def test_a_body_that_is_too_large(client: TestClient) -> None:
    answer = client.post("/api/v1/budgets/leases", content=b" " * (300 << 10))
    assert 413 == answer.status_code


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 32), st.booleans())
def test_whatever_comes_the_limit_holds(client: TestClient, seed: int, is_json: bool) -> None:
    chance = random.Random(seed)
    amounts = {name: str(chance.randint(0, 15)) for name in ("used_usd", "holds_usd", "room_usd")}
    amounts["used_usd"] = "0"
    whole = {"worker": f"w{chance.randint(0, 5)}", "seq": chance.randint(0, 99)}
    body = json.dumps(whole | {"budgets": [entry(**amounts)]}).encode()
    spoilt = (mutate_json if is_json else mutate)(body, chance)
    answer = client.post("/api/v1/budgets/leases", content=spoilt)

    assert answer.status_code in (200, 400, 413, 429), answer.text
    shown = client.get("/api/v1/budgets").json()["budgets"][0]
    leased, spent = Decimal(shown["leased_usd"]), Decimal(shown["spent_usd"])
    assert leased <= max(Decimal(0), 12 - spent)


def test_workers_are_bounded(client: TestClient) -> None:
    for number in range(3):
        assert 200 == ask(client, entry(room_usd="1"), worker=f"w{number}").status_code
    answer = ask(client, entry(room_usd="1"), worker="w3")
    assert 429 == answer.status_code
    assert "1" == answer.headers["retry-after"]


def test_other_methods_and_parameters(client: TestClient) -> None:
    assert 405 == client.get("/api/v1/budgets/leases").status_code
    assert 405 == client.post("/api/v1/budgets").status_code
    assert 400 == client.get("/api/v1/budgets?limit=3").status_code
