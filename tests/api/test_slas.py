"""Compliance as the API tells it: from stored runs, and a dash where there are none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fakes.clock import ManualClock
from tests.fakes.stored import stored_run
from tocsin.api.answering import Answering
from tocsin.api.slas import SlaRoutes
from tocsin.model.run import Outcome
from tocsin.runs.limits import WorkflowSLA
from tocsin.store.base import Batch
from tocsin.store.embedded.store import EmbeddedStore

DAY = 86_400
SLAS = {
    "support": WorkflowSLA(max_latency_seconds=15, success=0.75, window_seconds=7 * DAY),
    "quiet": WorkflowSLA(max_turns=3, success=0.99),
    "*": WorkflowSLA(max_tokens_per_request=100),
}
RUNS = [
    *[stored_run(f"ok{n}", workflow="support") for n in range(6)],
    stored_run("slow", workflow="support", lasts_s=16),
    stored_run("broken", workflow="support", at_s=-2 * DAY, outcome=Outcome.ERROR),
    stored_run("gone", workflow="support", outcome=Outcome.UNKNOWN),
    stored_run("other", workflow="research", input_tokens=500),
]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Any]:
    store, answering, clock = EmbeddedStore(tmp_path), Answering(), ManualClock()
    store.commit(Batch(runs=RUNS))
    clock.advance(60)
    client = TestClient(Starlette(routes=SlaRoutes(store, SLAS, answering, clock=clock).routes))
    yield lambda query="", code=200: answer(client.get(f"/api/v1/slas{query}"), code)
    answering.close()
    store.close()


def answer(response: Any, code: int) -> Any:
    assert code == response.status_code, response.text
    return response.json()


def test_shares_over_windows_and_what_is_left_of_the_error_budget(ask: Any) -> None:
    success, latency = ask("?workflow=support")["slas"]
    assert ("success", None, 0.75) == (success["limit"], success["threshold"], success["target"])
    assert ("latency", 15.0, 0.75) == (latency["limit"], latency["threshold"], latency["target"])
    assert [3600, DAY, 7 * DAY] == [window["window_s"] for window in success["windows"]]
    numbers = [[w[key] for key in ("within", "beyond", "unknown")] for w in success["windows"]]
    assert [[7, 0, 1], [7, 0, 1], [7, 1, 1]] == numbers
    assert [1.0, 1.0, 7 / 8] == [window["share"] for window in success["windows"]]
    assert [0, 0, 0.5] == [window["burn_rate"] for window in success["windows"]]
    assert (0.5, 0.5) == (success["budget_left"], latency["budget_left"])
    assert [1, 1, 1] == [window["beyond"] for window in latency["windows"]]


def test_no_traffic_is_unknown_and_never_100_per_cent(ask: Any) -> None:
    for level in ask("?workflow=quiet")["slas"]:
        assert level["budget_left"] is None
        assert [(None, None)] * 3 == [(w["share"], w["burn_rate"]) for w in level["windows"]]


def test_all_other_workflows_by_their_own_names(ask: Any) -> None:
    names = [(level["workflow"], level["limit"]) for level in ask()["slas"]]
    assert names == [
        ("research", "success"),
        ("research", "tokens"),
        ("quiet", "success"),
        ("quiet", "turns"),
        ("support", "success"),
        ("support", "latency"),
    ]
    (_, tokens) = ask("?workflow=research")["slas"]
    assert (1, None, None) == (
        *(tokens["windows"][0]["beyond"], tokens["target"], tokens["budget_left"]),
    )


def test_a_workflow_that_never_ran(ask: Any) -> None:
    assert {"slas": []} == ask("?workflow=nope")


def test_mistakes_are_explained(ask: Any) -> None:
    assert "wrkflow: no such parameter; there are workflow" == ask("?wrkflow=x", 400)["error"]
