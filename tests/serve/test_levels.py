"""From bodies to the bell: each breach once, whatever is judged again and whoever restarts."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.counts import Page
from tests.fakes.observer import RecordingObserver
from tests.fakes.spans import span
from tocsin.errors import StoreError
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Registry
from tocsin.model.finding import Finding, Signal
from tocsin.model.run import Breach, Outcome
from tocsin.model.span import Kind, Span, Usage
from tocsin.pricing.catalogue import PriceBook
from tocsin.runs import level_watch
from tocsin.runs.limits import WorkflowSLA
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.serve.levels import MAX_LINES, Bell, Levels
from tocsin.serve.trace_sink import Part, TraceSink
from tocsin.sources.tocsin_attributes import RUN_COUNTS, RUN_ID, RUN_OUTCOME
from tocsin.store.embedded.store import EmbeddedStore
from tocsin.store.event_log import EventKind, EventLog, EventQuery

NOW_NS = time.time_ns()
SLAS = {
    "w": WorkflowSLA(max_tokens_per_request=100, max_turns=1),
    "slow": WorkflowSLA(max_latency_seconds=0.05),
}


class Server:
    """A sink with service levels in a data directory, and what it tells."""

    def __init__(self, folder: Path, *, settle_s: float = 0.0) -> None:
        self.store = EmbeddedStore(folder / "store")
        self.log = EventLog(folder / "events.db")
        self.heard = RecordingObserver()
        bell, prices = Bell(self.log, [self.heard]), PriceBook()
        book = TraceBook(settle_s=settle_s, patience_s=1000, idle_s=1000)
        self.registry = Registry()
        levels = Levels(SLAS, prices, book, bell, self.registry)
        counter = RunCounter(prices, [bell], judge=levels.judge)
        self.sink = TraceSink(
            self.store, book, counter, Registry(), settle_every_s=1000, levels=levels
        )
        self._seq = 0

    def come(self, *spans: Span) -> list[tuple[str | None, str, bool]]:
        self._seq += 1
        self.sink.commit([Part(self._seq, list(spans))], self._seq)
        return self.told()

    def idle(self) -> list[tuple[str | None, str, bool]]:
        self.sink.idle()
        return self.told()

    def told(self) -> list[tuple[str | None, str, bool]]:
        breaches = self.heard.all("breached")
        self.heard.told.clear()
        return [(breach.run_id, breach.limit, breach.in_flight) for breach in breaches]

    def kept(self) -> list[tuple[str | None, str]]:
        return [
            (event.run_id, event.name)
            for event in self.log.newest(EventQuery(kind=EventKind.BREACH))
        ]

    def close(self) -> None:
        self.sink.close()
        self.log.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    opened = Server(tmp_path)
    yield opened
    opened.close()


def now(kind: Kind, span_id: str, parent_id: str | None = None, **fields: Any) -> Span:
    found: dict[str, Any] = {"started_ns": NOW_NS, "ended_ns": NOW_NS + 1}
    return span(kind, span_id, parent_id, **(found | fields))


def llm(span_id: str, parent_id: str = "a", *, tokens: int = 60, **fields: Any) -> Span:
    return now(Kind.LLM, span_id, parent_id, **({"usage": Usage(tokens, 0)} | fields))


def ours(one: Span, run_id: str, workflow: str = "w", **more: str) -> Span:
    values = {name: getattr(one, name) for name in one.__struct_fields__}
    return Span(**values | {"attributes": {RUN_ID: run_id} | more, "workflow": workflow})


def report(run_id: str, workflow: str = "w", tokens: int = 120) -> Span:
    counts = dict.fromkeys(RUN_COUNTS, "0") | {"tocsin.run.input_tokens": str(tokens)}
    root = now(Kind.RUN, run_id, None, name=workflow)
    return ours(root, run_id, workflow, **counts, **{RUN_OUTCOME: Outcome.OK.value})


def test_in_flight_and_not_again_at_the_end(server: Server) -> None:
    assert [] == server.come(ours(llm("c1"), "r"))
    assert [("r", "tokens", True)] == server.come(ours(llm("c2"), "r"))
    assert [] == server.come(report("r"))
    assert [] == server.idle()
    assert [("r", "tokens")] == server.kept()


def test_a_run_whose_id_becomes_known_at_its_end(server: Server) -> None:
    assert [(None, "tokens", True)] == server.come(llm("c1", workflow="w"), llm("c2"))
    assert [] == server.come(now(Kind.AGENT, "a", None, workflow="w"))
    assert [("a", "turns", False)] == server.idle()
    assert [("a", "turns"), ("a", "tokens")] == server.kept()


def test_what_nobody_could_know_in_flight_is_told_at_the_end(server: Server) -> None:
    assert [] == server.come(llm("c1"), llm("c2"))
    assert [] == server.come(now(Kind.AGENT, "a", None, name="w"))
    assert {("a", "tokens", False), ("a", "turns", False)} == set(server.idle())


def test_late_spans_may_break_a_limit_and_repeat_nothing(server: Server) -> None:
    server.come(now(Kind.AGENT, "a", None, workflow="w"), llm("c1"))
    assert [] == server.idle()
    server.come(llm("c2"))
    assert {("a", "tokens", False), ("a", "turns", False)} == set(server.idle())
    server.come(llm("c3"))
    assert [] == server.idle()


def test_restart_in_flight(tmp_path: Path) -> None:
    """What was not committed is read from the journal again."""
    spans = (ours(llm("c1"), "r"), ours(llm("c2"), "r"))
    first = Server(tmp_path)
    assert [("r", "tokens", True)] == first.come(*spans)
    first.close()
    second = Server(tmp_path)
    assert [] == second.come(*spans)
    assert [] == second.come(report("r"))
    assert [] == second.idle()
    second.close()


def test_restart_before_the_end_of_a_run_that_was_not_known(tmp_path: Path) -> None:
    spans = (llm("c1", workflow="w"), llm("c2"))
    first = Server(tmp_path)
    assert [(None, "tokens", True)] == first.come(*spans)
    first.close()
    second = Server(tmp_path)
    root = now(Kind.AGENT, "a", None, workflow="w")
    assert [("a", "turns", False)] == second.come(*spans, root) + second.idle()
    second.close()


def test_a_hanging_run_by_the_sweeper_also_after_a_restart(tmp_path: Path) -> None:
    first = Server(tmp_path)
    first.come(ours(llm("c1"), "r", "slow"))
    assert [] == first.idle()
    time.sleep(0.06)
    assert [("r", "latency", True)] == first.idle()
    first.close()
    second = Server(tmp_path)
    second.come(ours(llm("c1"), "r", "slow"))
    time.sleep(0.06)
    assert [] == second.idle()
    second.close()


def test_where_the_log_cannot_be_written_it_is_told_all_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Any) -> Any:
        raise StoreError("events.db cannot be used: disk full")

    monkeypatch.setattr(server.log, "add", refuse)
    assert [("r", "tokens", True)] == server.come(ours(llm("c1", tokens=120), "r"))
    assert "disk full; what is raised meanwhile may be raised again" in caplog.text


def test_the_log_has_a_line_for_each_but_not_for_thousands(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        server.come(*(ours(llm(f"c{n}", tokens=120, trace_id=f"t{n}"), f"r{n}") for n in range(50)))
    lines = [record.getMessage() for record in caplog.records]
    assert MAX_LINES + 1 == len(lines)
    expected = "w: 120 tokens so far, over the limit of 100 tokens; 100 % model unknown (run r0)"
    assert (expected, "… and 30 more: GET /api/v1/breaches") == (lines[0], lines[-1])


def test_findings_are_kept_beside_breaches_and_once(tmp_path: Path) -> None:
    finding = Finding(
        run_id="r", trace_id="t", workflow="w", signal=Signal.TOOL_LOOP, detail="again",
        severity="warning", in_flight=False,
    )  # fmt: skip
    log = EventLog(tmp_path / "events.db")
    bell = Bell(log, [])
    for _ in range(2):
        bell.found(finding)
        bell.flush()
    (event,) = log.newest(EventQuery())
    assert (EventKind.FINDING, "tool_loop", "r") == (event.kind, event.name, event.run_id)
    log.close()


def test_breaches_are_counted_where_the_limits_are_named_and_elsewhere(tmp_path: Path) -> None:
    from tocsin.config.load import parse_settings
    from tocsin.serve.wiring import embedded_wiring

    text = "workflows: {w: {sla: {tokens: 100, cost: 5 USD}}, '*': {sla: {turns: 1}}}"
    registry = Registry()
    wiring = embedded_wiring(parse_settings(text, "x"), tmp_path, registry)
    wiring.store.commit([Part(1, [ours(llm("c1", tokens=120), "r")])], 1)
    assert {"tokens": 1} == Page(registry.collect()).by("agent_sla_breaches_total", "limit")
    assert registry.has(m.SLA_BREACHES, ("w", "cost", "alert"))
    wiring.close()


def test_nothing_is_watched_where_there_are_no_levels(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    book = TraceBook()
    levels = Levels({}, PriceBook(), book, Bell(log, []), Registry())
    levels.take([ours(llm("c"), "r")], 0)
    assert {} == levels._watch._flights
    log.close()


def test_a_breach_is_the_same_struct_as_in_the_program(server: Server) -> None:
    server.sink.commit([Part(1, [ours(llm("c1", tokens=120, model="gpt-4.1"), "r")])], 1)
    (breach,) = server.heard.all("breached")
    assert isinstance(breach, Breach)
    assert ("gpt-4.1", 1.0) == (breach.largest[0].text, breach.largest[0].share)


def test_what_fails_here_is_counted_and_costs_no_span(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(level_watch, "find_breaches", fail)
    assert [] == server.come(ours(llm("c1", tokens=120), "r"), report("r")) + server.idle()
    assert 1 <= Page(server.registry.collect()).total("tocsin_internal_errors_total")
    assert server.store.run("r") is not None
    assert "service levels could not be checked" in caplog.text
