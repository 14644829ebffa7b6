import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fakes.clock import NOON_NS, NS, ManualClock
from tests.fakes.stored import CENT, stored_call, stored_run, support_run
from tocsin.api.runs import RunRoutes
from tocsin.errors import StoreError
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass
from tocsin.store.base import Batch
from tocsin.store.embedded.store import EmbeddedStore

NOON = "2026-06-01T12:00:00Z"
SUPPORT = "5eed0000000000aa"
RUNS = [
    stored_run("quick", at_s=-60, lasts_s=0.5, service="lab"),
    stored_run("dear", at_s=-120, priced_calls=1, cost_usd=Decimal("1.5"), workflow="research"),
    stored_run("broken", at_s=-180, lasts_s=9, outcome=Outcome.ERROR, workflow="research"),
    stored_run("halted", at_s=-7200, outcome=Outcome.STOPPED, conversation_id="c"),
    stored_run("tripped", at_s=-7300, outcome=Outcome.GUARDRAIL, input_tokens=5000),
]
CALLS = [
    stored_call("dear", "x1", workflow="research", at_s=-120),
    stored_call(
        "broken", "x2", workflow="research", at_s=-180, usage=None, error=ErrorClass.TIMEOUT
    ),
]


class Api:
    """Asks a server that shows noon and a few seconds."""

    def __init__(self, store: Any, **settings: Any) -> None:
        clock = ManualClock()
        clock.advance(10)
        self.routes = RunRoutes(store, clock=clock, **settings)
        self.client = TestClient(Starlette(routes=self.routes.routes))

    def get(self, path: str, code: int = 200) -> Any:
        answer = self.client.get(f"/api/v1{path}")
        assert code == answer.status_code, answer.text
        assert "application/json" == answer.headers["content-type"]
        return answer.json()

    def ids(self, parameters: str = "") -> list[str]:
        return [run["run_id"] for run in self.get(f"/runs?{parameters}")["runs"]]

    def error(self, path: str, code: int = 400) -> str:
        return str(self.get(path, code)["error"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    found = EmbeddedStore(tmp_path)
    found.commit(support_run())
    found.commit(Batch(runs=RUNS, spans=CALLS))
    yield found
    found.close()


@pytest.fixture
def api(store: EmbeddedStore) -> Iterator[Api]:
    found = Api(store)
    yield found
    found.routes.close()


@pytest.mark.parametrize(
    ("expected", "parameters"),
    [
        ([SUPPORT, "quick", "dear", "broken", "halted", "tripped"], ""),
        (["broken", SUPPORT], "order=slowest&limit=2"),
        (["dear", SUPPORT], "order=costliest&limit=2"),
        (["tripped", SUPPORT], "order=most_tokens&limit=2"),
        (["dear", "broken"], "workflow=research"),
        ([], "workflow=none"),
        (["broken", "halted"], "outcome=failed"),
        (["halted", "tripped"], "outcome=stopped,guardrail"),
        ([SUPPORT], "conversation_id=chat/7"),
        (["quick"], "service=lab"),
        ([], "environment=test"),
        ([SUPPORT, "broken"], "min_duration=2s"),
        ([SUPPORT, "dear"], "min_cost_usd=0.03"),
        ([SUPPORT, "quick"], "since=90s"),
        ([SUPPORT], f"start={NOON}"),
        (["halted", "tripped"], f"end={NOON_NS // NS - 3600}"),
        (["broken"], "workflow=research&outcome=failed&since=1h&order=costliest"),
        ([SUPPORT], f"start={NOON}&workflow=&cursor="),
    ],
)
def test_filters_and_orders(api: Api, expected: list[str], parameters: str) -> None:
    assert expected == api.ids(parameters)


def test_a_run_in_full(api: Api) -> None:
    expected = {
        "run_id": SUPPORT,
        "trace_id": "t",
        "workflow": "support",
        "conversation_id": "chat/7",
        "service": "shop",
        "environment": "prod",
        "outcome": "ok",
        "started_at": NOON,
        "ended_at": "2026-06-01T12:00:04Z",
        "duration_s": 4.0,
        "turns": 2,
        "llm_calls": 2,
        "tool_calls": 2,
        "handoffs": 0,
        "input_tokens": 100,
        "output_tokens": 50,
        "total_tokens": 150,
        "usage_missing": 1,
        "cost_usd": "0.03",
        "priced_calls": 1,
        "unpriced_calls": 0,
    }
    assert expected == api.get("/runs?limit=1")["runs"][0] == api.get(f"/runs/{SUPPORT}")["run"]


def test_unknown_is_null(store: EmbeddedStore, api: Api) -> None:
    store.commit(Batch(runs=[stored_run("dark", llm_calls=1, usage_missing=1)]))
    run = api.get("/runs/dark")["run"]
    assert [None, None, None] == [run["cost_usd"], run["total_tokens"], run["input_tokens"]]
    spans = {span["span_id"]: span for span in api.get(f"/runs/{SUPPORT}")["spans"]}
    assert (None, None, None) == tuple(
        spans["c2"][name] for name in ("usage", "cost_usd", "first_token_s")
    )


def test_spans_of_a_run(api: Api) -> None:
    view = api.get(f"/runs/{SUPPORT}")
    spans = view["spans"]
    assert 6 == view["span_count"]
    assert [SUPPORT, "a", "c1", "t1", "t2", "c2"] == [span["span_id"] for span in spans]
    assert ("0.03", 150, 0.5) == (
        spans[2]["cost_usd"],
        spans[2]["usage"]["input_tokens"] + spans[2]["usage"]["output_tokens"],
        spans[2]["first_token_s"],
    )
    assert ("timeout", False, True) == (spans[3]["error"], spans[3]["retry"], spans[4]["retry"])
    assert {} == spans[2]["content"]
    few = api.get(f"/runs/{SUPPORT}?limit=2")
    assert (2, 6) == (len(few["spans"]), few["span_count"])


@pytest.mark.parametrize("asked", ["5eed", "5eed…aa", "5eed...00aa", "5eed00000000…aa"])
def test_a_part_of_the_id_is_enough(api: Api, asked: str) -> None:
    assert SUPPORT == api.get(f"/runs/{asked}")["run"]["run_id"]


def test_a_part_that_fits_several_runs(store: EmbeddedStore, api: Api) -> None:
    store.commit(Batch(runs=[stored_run("5eed0001")]))
    expected = f"several runs have ids like '5eed' ({SUPPORT}, 5eed0001); write more of it"
    assert expected == api.error("/runs/5eed")
    assert "5eed0001" == api.get("/runs/5eed0001")["run"]["run_id"]


@pytest.mark.parametrize("asked", ["nope", "…aa", "%25", "_"])
def test_no_such_run(api: Api, asked: str) -> None:
    assert "there is no run " in api.error(f"/runs/{asked}", 404)


def test_conversation(store: EmbeddedStore, api: Api) -> None:
    second = stored_run("later", at_s=60, conversation_id="chat/7", input_tokens=7)
    store.commit(Batch(runs=[second]))
    found = api.get("/conversations/chat%2F7")
    assert [SUPPORT, "later"] == [run["run_id"] for run in found["runs"]]
    assert (2, 157, "0.03") == (found["run_count"], found["total_tokens"], found["cost_usd"])
    few = api.get("/conversations/chat/7?limit=1")
    assert (1, 2) == (len(few["runs"]), few["run_count"])
    assert "there is no conversation 'x'" == api.error("/conversations/x", 404)


def test_paging_walks_every_run_once_while_others_come_in(store: EmbeddedStore, api: Api) -> None:
    first = [stored_run(f"r{i:03}", at_s=i, workflow="paged") for i in range(100)]
    store.commit(Batch(runs=first))
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = api.get(f"/runs?workflow=paged&limit=7&cursor={cursor}")
        seen += [run["run_id"] for run in page["runs"]]
        cursor = page["next_cursor"]
        pages += 1
        store.commit(Batch(runs=[stored_run(f"new{pages}", at_s=1000 + pages, workflow="paged")]))
    assert [stored.run.run_id for stored in reversed(first)] == seen
    assert 15 == pages


def test_latency(api: Api) -> None:
    points = {point["group"]: point for point in api.get("/trends/latency?since=1h")["points"]}
    assert ["research", "support", "w"] == sorted(points)
    assert ("2026-06-01T11:00:10Z", 2) == (points["research"]["at"], points["research"]["count"])
    assert pytest.approx(9, rel=0.025) == points["research"]["p99_s"]


def test_errors(api: Api) -> None:
    points = api.get("/trends/errors?since=3h&step=1h&workflow=w")["points"]
    expected = [
        ("2026-06-01T09:00:10Z", 1, 0, 0.0, {"guardrail": 1}),
        ("2026-06-01T10:00:00Z", 1, 1, 1.0, {"stopped": 1}),
        ("2026-06-01T11:00:00Z", 1, 0, 0.0, {}),
    ]
    names = ("at", "total", "failed", "rate", "classes")
    assert expected == [tuple(point[name] for name in names) for point in points]
    (model,) = api.get("/trends/errors?by=model&workflow=research")["points"]
    assert ("gpt-4o", 2, 1, {"timeout": 1}) == tuple(
        model[name] for name in ("group", "total", "failed", "classes")
    )


def test_usage(api: Api) -> None:
    points = {point["group"]: point for point in api.get("/trends/usage?by=model")["points"]}
    assert (300, "0.06") == (
        points["gpt-4o"]["input_tokens"] + points["gpt-4o"]["output_tokens"],
        points["gpt-4o"]["cost_usd"],
    )
    assert (1, None, None, 1) == tuple(
        points["own"][name] for name in ("calls", "input_tokens", "cost_usd", "usage_missing")
    )
    assert str(6 * CENT) == points["gpt-4o"]["cost_usd"]


@pytest.mark.parametrize(
    ("expected", "path"),
    [
        ("limit: '0' is not a number from 1 to 500", "/runs?limit=0"),
        ("limit: '501' is not a number from 1 to 500", "/runs?limit=501"),
        ("limit: 'x' is not a number from 1 to 500", "/runs?limit=x"),
        ("'oldest' is none of them; write newest, slowest, costliest", "/runs?order=oldest"),
        ("'late' is no outcome; write failed, ok, error", "/runs?outcome=ok,late"),
        ("start: 'noon' is not a time; write 2026-06-01T12:00:00Z", "/runs?start=noon"),
        ("since: '5 min' is not a duration; write 30s, 5m", "/runs?since=5 min"),
        ("start and since say the same", f"/runs?since=1h&start={NOON}"),
        ("min_cost_usd: '$1' is not an amount of dollars; write 0.50", "/runs?min_cost_usd=$1"),
        ("is not an amount of dollars", "/runs?min_cost_usd=nan"),
        ("is not an amount of dollars", "/runs?min_cost_usd=1e-13"),
        ("the cursor is damaged; start from the first page", "/runs?cursor=abc"),
        ("colour: no such parameter; there are start, end, since", "/runs?colour=red"),
        ("workflow is given 2 times; write one", "/runs?workflow=a&workflow=b"),
        ("limit: 'x' is not a number from 1 to 500; colour: no such", "/runs?limit=x&colour=red"),
        ("limit: '5001' is not a number from 1 to 5000", "/runs/quick?limit=5001"),
        ("limit: '501' is not a number from 1 to 500", "/conversations/c?limit=501"),
        ("'day' is none of them; write workflow, model, tool, agent", "/trends/usage?by=day"),
        ("tools use no tokens", "/trends/usage?by=tool"),
        ("there is no model to go by here", "/trends/latency?model=gpt-4o"),
        ("more than 500 steps; take longer ones", "/trends/errors?since=10h&step=1m"),
        ("the window is empty", f"/trends/errors?start={NOON}&end={NOON}"),
        ("step: '0' is not a duration", "/trends/errors?step=0"),
    ],
)
def test_bad_parameters(api: Api, expected: str, path: str) -> None:
    assert expected in api.error(path)


def test_a_cursor_of_another_order(api: Api) -> None:
    cursor = api.get("/runs?limit=1")["next_cursor"]
    assert "belongs to a list ordered by newest" in api.error(
        f"/runs?order=slowest&cursor={cursor}"
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(api: Api, method: str) -> None:
    assert 405 == api.client.request(method, "/api/v1/runs").status_code


def test_a_store_that_refuses() -> None:
    class Refusing:
        def runs(self, _: Any) -> Any:
            raise StoreError("the disk is full")

    api = Api(Refusing())
    assert "the disk is full" == api.error("/runs", 503)
    api.routes.close()


def test_a_store_that_takes_too_long() -> None:
    over = threading.Event()

    class Slow:
        def runs(self, _: Any) -> Any:
            over.wait(30)
            raise StoreError("too late")

    api = Api(Slow(), timeout_s=0.05)
    assert "no answer within 0.05 s; ask for less" == api.error("/runs", 503)
    over.set()
    api.routes.close()


def test_a_question_that_takes_too_long_is_interrupted(store: EmbeddedStore) -> None:
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000) b WHERE a.range % 7 = b.range"
    patient = store.patient_for(0.2)
    with pytest.raises(StoreError, match=r"took longer than 0\.2 s; ask for less"):
        patient._read(lambda cursor: cursor.execute(endless).fetchall())
    assert patient.run("quick") is not None
