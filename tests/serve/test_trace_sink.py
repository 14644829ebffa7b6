"""The sink: what settles is committed, counted, and never past what memory still holds."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.fakes.counts import Page
from tests.fakes.spans import span
from tocsin.errors import StoreError
from tocsin.meters.registry import Registry
from tocsin.model.span import Kind
from tocsin.pricing.catalogue import PriceBook
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.serve.trace_sink import Part, TraceSink
from tocsin.store.base import Batch, Receipt, RunQuery, SpanStore
from tocsin.store.embedded.store import EmbeddedStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(tmp_path)
    yield opened
    opened.close()


def sink_of(
    store: SpanStore, registry: Registry, *, settle_every_s: float = 1000.0, max_spans: int = 100
) -> TraceSink:
    book = TraceBook(settle_s=0, patience_s=1000, idle_s=1000, max_spans=max_spans)
    counter = RunCounter(PriceBook(), [])
    return TraceSink(store, book, counter, registry, settle_every_s=settle_every_s)


def at(now_ns: int) -> dict[str, int]:
    return {"started_ns": now_ns, "ended_ns": now_ns + 1}


def a_run(number: int) -> Part:
    """A run of now, which nothing is known of."""
    fields: dict[str, Any] = {"trace_id": f"t{number}"} | at(time.time_ns())
    return Part(number, [span(Kind.AGENT, f"a{number}", **fields)])


class Held:
    """A store whose commits wait until they may, or fail as often as told."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self.may_commit = threading.Event()
        self.failures = 0

    def commit(self, batch: Batch) -> Receipt | None:
        assert self.may_commit.wait(10)
        if self.failures:
            self.failures -= 1
            raise StoreError("not now")
        return self._store.commit(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def held(store: EmbeddedStore) -> Iterator[Held]:
    held = Held(store)
    yield held
    held.may_commit.set()


def stored_spans(registry: Registry) -> float:
    return Page(registry.collect()).total("tocsin_store_spans_total")


def test_counts_the_spans_that_are_committed(store: EmbeddedStore) -> None:
    registry = Registry()
    sink = sink_of(store, registry)
    sink.commit([Part(1, [span(Kind.AGENT, "a"), span(Kind.LLM, "c", "a")])], 1)
    sink.idle()
    assert 2 == stored_spans(registry)


def test_spans_that_wait_for_their_root_are_not_counted(store: EmbeddedStore) -> None:
    registry = Registry()
    sink = sink_of(store, registry)
    sink.commit([Part(1, [span(Kind.LLM, "c", "a")])], 1)
    assert 0 == stored_spans(registry)
    assert 0 == sink.position()


def test_settles_only_so_often_while_more_comes_and_at_once_when_nothing_does(
    store: EmbeddedStore,
) -> None:
    registry = Registry()
    sink = sink_of(store, registry)
    for number in (1, 2):
        sink.commit([a_run(number)], number)
    assert 0 == stored_spans(registry)
    sink.idle()
    assert (2, 2) == (stored_spans(registry), sink.position())


def test_reads_on_while_the_store_commits_but_not_past_it(held: Held) -> None:
    registry = Registry()
    sink = sink_of(cast("SpanStore", held), registry)
    for number in (1, 2):
        sink.commit([a_run(number)], number)
    assert (0, 0) == (stored_spans(registry), sink.position())
    held.may_commit.set()
    sink.idle()
    assert (2, 2) == (stored_spans(registry), sink.position())


def test_what_the_store_refused_is_sent_again(held: Held) -> None:
    registry = Registry()
    sink = sink_of(cast("SpanStore", held), registry, settle_every_s=0)
    held.failures = 2
    held.may_commit.set()
    sink.commit([a_run(1)], 1)
    for _ in range(2):
        with pytest.raises(StoreError, match="not now"):
            sink.commit([a_run(2)], 2)
    sink.commit([a_run(2)], 2)
    assert 1 == sink.position()
    sink.idle()
    assert (2, 2) == (stored_spans(registry), sink.position())


def test_a_late_span_finds_what_is_still_being_committed(store: EmbeddedStore) -> None:
    earlier: Any = at(time.time_ns())
    sink = sink_of(store, Registry(), settle_every_s=0, max_spans=0)
    sink.commit(
        [Part(1, [span(Kind.AGENT, "a", **earlier), span(Kind.LLM, "c", "a", **earlier)])], 1
    )
    sink.commit([Part(2, [span(Kind.TOOL, "d", "a", **earlier)])], 2)
    sink.idle()
    view = store.run("a")
    assert view is not None
    assert (1, 1, 3) == (view.run.run.llm_calls, view.run.run.tool_calls, len(view.spans))


class Picky(Held):
    """A store that can never take one of the spans."""

    def commit(self, batch: Batch) -> Receipt | None:
        if any(stored.span.trace_id == "t2" for stored in batch.spans):
            raise ValueError("not a value of this column")
        return self._store.commit(batch)


def test_what_the_store_never_takes_costs_nothing_else(store: EmbeddedStore) -> None:
    registry = Registry()
    sink = sink_of(cast(SpanStore, Picky(store)), registry)
    sink.commit([a_run(1), a_run(2), a_run(3)], 3)
    sink.idle()
    assert 3 == store.position() == sink.position()
    found = {stored.run.trace_id for stored in store.runs(RunQuery()).runs}
    assert {"t1", "t3"} <= found
    assert all(store.run(run_id) is not None for run_id in ("a1", "a3"))
    skipped = Page(registry.collect()).total("tocsin_otlp_spans_skipped_total", reason="unstorable")
    assert 1 == skipped


def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    held = Held(EmbeddedStore(tmp_path))
    sink = sink_of(cast(SpanStore, held), Registry(), settle_every_s=0)
    sink.commit([a_run(1)], 1)
    closing = threading.Thread(target=sink.close)
    closing.start()
    held.may_commit.set()
    closing.join(10)
    reopened = EmbeddedStore(tmp_path)
    assert 1 == reopened.position()
    reopened.close()
