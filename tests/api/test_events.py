"""What was raised, as the API tells it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fakes.clock import NOON_NS, NS, ManualClock
from tocsin.api.answering import Answering
from tocsin.api.events import EventRoutes, breach_event, finding_event
from tocsin.model.finding import Finding, Signal
from tocsin.model.run import Breach, Contributor
from tocsin.store.event_log import EventLog, Raised

BREACH = Breach(
    run_id=None,
    trace_id="t1",
    workflow="support",
    limit="tokens",
    value=8412,
    threshold=8000,
    severity="critical",
    in_flight=True,
    contributors=(Contributor("model", "gpt-4.1", "billing", 6000, 0.71),),
)
FINDING = Finding(
    run_id="r2",
    trace_id="t2",
    workflow="research",
    signal=Signal.TOOL_LOOP,
    detail="search was called 6 times with the same arguments",
    severity="warning",
    in_flight=False,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = EventLog(tmp_path / "events.db")
    opened.add([Raised(breach_event(BREACH, NOON_NS), {"s1"})])
    opened.add([Raised(finding_event(FINDING, NOON_NS + 60 * NS))])
    yield opened
    opened.close()


@pytest.fixture
def ask(log: EventLog) -> Iterator[Any]:
    answering, clock = Answering(), ManualClock()
    clock.advance(90)
    client = TestClient(Starlette(routes=EventRoutes(log, answering, clock=clock).routes))

    def get(query: str = "", code: int = 200) -> Any:
        response = client.get(f"/api/v1/breaches{query}")
        assert code == response.status_code, response.text
        return response.json()

    yield get
    answering.close()


def test_breaches_and_findings_newest_first(ask: Any) -> None:
    finding, breach = ask()["events"]
    assert breach == {
        "kind": "breach",
        "name": "tokens",
        "at": "2026-06-01T12:00:00Z",
        "workflow": "support",
        "run_id": None,
        "trace_id": "t1",
        "severity": "critical",
        "in_flight": True,
        "message": BREACH.message,
        "value": 8412.0,
        "threshold": 8000.0,
        "action": "alert",
        "contributors": [
            {"kind": "model", "name": "gpt-4.1", "agent": "billing", "value": 6000, "share": 0.71}
        ],
    }
    assert ("finding", "tool_loop", "r2", FINDING.message, None, []) == (
        *(finding["kind"], finding["name"], finding["run_id"], finding["message"]),
        *(finding["value"], finding["contributors"]),
    )


def test_the_run_is_named_once_it_is_known(log: EventLog, ask: Any) -> None:
    later = Breach(**{name: getattr(BREACH, name) for name in BREACH.__struct_fields__} | {
        "run_id": "r1", "in_flight": False,
    })  # fmt: skip
    assert [False] == log.add([Raised(breach_event(later, NOON_NS + NS), {"s1", "s2"})])
    (found,) = ask("?run_id=r1")["events"]
    assert ("r1", True) == (found["run_id"], found["in_flight"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?kind=breach", ["tokens"]),
        ("?kind=finding", ["tool_loop"]),
        ("?workflow=research", ["tool_loop"]),
        ("?name=tokens", ["tokens"]),
        ("?since=60s", ["tool_loop"]),
        ("?limit=1", ["tool_loop"]),
        ("?workflow=nope", []),
    ],
)
def test_filters(ask: Any, query: str, expected: list[str]) -> None:
    assert expected == [event["name"] for event in ask(query)["events"]]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("?kind=alarm", "kind: 'alarm' is none of them; write breach, finding"),
        ("?limit=501", "limit: '501' is not a number from 1 to 500"),
        ("?since=today", "since: 'today' is not a duration; write 30s, 5m, 1h30m or 7d"),
        ("?run=r", "run: no such parameter; there are start, since, kind, name, workflow"),
    ],
)
def test_mistakes_are_explained(ask: Any, query: str, problem: str) -> None:
    assert problem in ask(query, 400)["error"]
