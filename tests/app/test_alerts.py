import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tocsin.app import alerts
from tocsin.app.alerts import AlertSink
from tocsin.errors import ConfigError
from tocsin.model.finding import Finding, Signal
from tocsin.model.run import Breach
from tocsin.runs.limits import WorkflowSLA


def in_s(seconds: float) -> float:
    """A deadline."""
    return time.monotonic() + seconds


SLAS = {"support": WorkflowSLA(max_turns=1)}


def breach(run_id: str = "r", workflow: str = "support") -> Breach:
    return Breach(
        run_id=run_id,
        trace_id="t",
        workflow=workflow,
        limit="turns",
        value=2,
        threshold=1,
        severity="critical",
        in_flight=False,
    )


class Service:
    """An alert service; `act` is called with each alert before it counts as sent."""

    def __init__(self, act: Callable[[str], object] = lambda message: None) -> None:
        self.act = act
        self.sent: list[tuple[str, str]] = []

    def send(self, *, severity: str, message: str) -> None:
        self.act(message)
        self.sent.append((severity, message))


class AsyncService(Service):
    """The same, but async, with a connection that belongs to one event loop."""

    loop: asyncio.AbstractEventLoop | None = None

    async def send(self, *, severity: str, message: str) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        if self.loop not in (None, loop):
            raise RuntimeError("Event loop is closed")
        self.loop = loop
        super().send(severity=severity, message=message)


SERVICES = [Service, AsyncService]
sinks: list[AlertSink] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while sinks:
        sinks.pop().close(in_s(5))


def sink_of(service: Any, slas: Any = SLAS) -> AlertSink:
    sinks.append(AlertSink(service, slas))
    return sinks[-1]


@pytest.mark.parametrize("kind", SERVICES)
def test_breach_is_sent(kind: type[Service]) -> None:
    service = kind()
    sink = sink_of(service)
    sink.breached(breach())
    sink.close(in_s(5))

    assert [("critical", "support: 2 turns, over the limit of 1 turns (run r)")] == service.sent


@pytest.mark.parametrize("kind", SERVICES)
def test_breaches_are_sent_in_order(kind: type[Service]) -> None:
    service = kind()
    sink = sink_of(service)
    for n in range(50):
        sink.breached(breach(f"r{n}"))
    sink.close(in_s(5))

    assert [f"(run r{n})" for n in range(50)] == [
        text.split("turns ")[-1] for _, text in service.sent
    ]


SCOPES = [
    ({"support": WorkflowSLA()}, "support", 1),
    ({"support": WorkflowSLA()}, "other", 0),
    ({"*": WorkflowSLA()}, "other", 1),
]


@pytest.mark.parametrize(("slas", "workflow", "expected"), SCOPES)
def test_only_own_workflows_are_sent(slas: Any, workflow: str, expected: int) -> None:
    service = Service()
    sink = sink_of(service, slas)
    sink.breached(breach(workflow=workflow))
    sink.close(in_s(5))

    assert expected == len(service.sent)


FAILURES = [
    ValueError("no"),
    OSError(),
    asyncio.CancelledError(),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
]


@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_failure_is_counted_logged_and_the_next_alert_sent(
    kind: type[Service], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_first(message: str) -> None:
        if "(run r0)" in message:
            raise error

    service = kind(fail_first)
    sink = sink_of(service)
    for n in range(2):
        sink.breached(breach(f"r{n}"))
    sink.close(in_s(5))

    assert (1, 1, 1) == (sink.failed, len(service.sent), len(caplog.records))
    assert "alert not sent" in caplog.text


def test_slow_service_delays_nobody_but_its_alerts() -> None:
    release = threading.Event()
    sink = sink_of(Service(lambda message: release.wait(10)))
    started_s = time.monotonic()
    for n in range(100):
        sink.breached(breach(f"r{n}"))
    took_s = time.monotonic() - started_s
    release.set()

    assert took_s < 0.5


def test_alerts_beyond_the_limit_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MAX_WAITING", 10)
    release, busy = threading.Event(), threading.Event()

    def hang(message: str) -> None:
        busy.set()
        release.wait(10)

    service = Service(hang)
    sink = sink_of(service)
    sink.breached(breach())
    assert busy.wait(5)  # one is being sent, the queue is empty
    for n in range(13):
        sink.breached(breach(f"r{n}"))
    release.set()
    sink.close(in_s(5))

    assert (3, 11) == (sink.dropped, len(service.sent))


@pytest.mark.parametrize("waiting", [0, 5, 20])
def test_close_keeps_to_its_deadline(monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    monkeypatch.setattr(alerts, "MAX_WAITING", 10)
    release = threading.Event()
    # Each alert takes a while: room for the end mark appears only just before the deadline.
    sink = sink_of(Service(lambda message: release.wait(0.15)))
    for n in range(waiting + 1):
        sink.breached(breach(f"r{n}"))
    started_s = time.monotonic()
    sink.close(in_s(0.2))
    took_s = time.monotonic() - started_s
    release.set()

    assert took_s < 0.3


def test_sink_without_alerts_has_no_thread() -> None:
    before = threading.active_count()
    sink_of(Service()).close(in_s(5))

    assert before == threading.active_count()


@pytest.mark.parametrize("service", [None, object(), 7, type("S", (), {"send": "text"})()])
def test_service_that_cannot_send_is_refused(service: Any) -> None:
    with pytest.raises(ConfigError, match=r"has no method send\(severity=, message=\)"):
        AlertSink(service, SLAS)


def test_forked_child_sends_and_counts_its_own() -> None:
    service = Service(lambda message: 1 / 0)
    sink = sink_of(service)
    sink.breached(breach())
    sink.close(in_s(5))
    sink.reset_after_fork()
    before = (sink.failed, sink.dropped)
    service.act = lambda message: None
    sink.breached(breach("child"))
    sink.close(in_s(5))

    assert ((0, 0), ["support: 2 turns, over the limit of 1 turns (run child)"]) == (
        before,
        [message for _, message in service.sent],
    )


def finding(workflow: str) -> Finding:
    return Finding(
        run_id="r",
        trace_id="t",
        workflow=workflow,
        signal=Signal.TOOL_LOOP,
        detail="search was called 6 times",
        severity="warning",
        in_flight=True,
    )


@pytest.mark.parametrize(
    ("slas", "heard"),
    [
        (SLAS, ["support"]),
        ({"*": WorkflowSLA(max_turns=1)}, ["support", "research"]),
        ({}, ["support", "research"]),
    ],
)
def test_findings_are_sent_of_the_workflows_in_slas_or_of_all(
    slas: dict[str, WorkflowSLA], heard: list[str]
) -> None:
    service = Service()
    sink = AlertSink(service, slas)
    for workflow in ("support", "research"):
        sink.found(finding(workflow))
    sink.close(in_s(5))

    expected = [("warning", f"{name}: search was called 6 times (run r)") for name in heard]
    assert expected == service.sent
