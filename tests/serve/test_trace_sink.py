"""The sink: what settles is committed, counted, and never past what memory still holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.counts import Page
from tests.fakes.spans import span
from tocsin.meters.registry import Registry
from tocsin.model.span import Kind
from tocsin.pricing.catalogue import PriceBook
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.serve.trace_sink import Part, TraceSink
from tocsin.store.embedded.store import EmbeddedStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(tmp_path)
    yield opened
    opened.close()


def sink_of(store: EmbeddedStore, registry: Registry) -> TraceSink:
    book = TraceBook(settle_s=0, patience_s=1000, idle_s=1000)
    return TraceSink(store, book, RunCounter(PriceBook(), []), registry, settle_every_s=1000)


def stored_spans(registry: Registry) -> float:
    return Page(registry.collect()).total("tocsin_store_spans_total")


def test_counts_the_spans_that_are_committed(store: EmbeddedStore) -> None:
    registry = Registry()
    sink = sink_of(store, registry)
    sink.commit([Part(1, [span(Kind.AGENT, "a"), span(Kind.LLM, "c", "a")])], 1)
    assert 2 == stored_spans(registry)


def test_spans_that_wait_for_their_root_are_not_counted(store: EmbeddedStore) -> None:
    registry = Registry()
    sink = sink_of(store, registry)
    sink.commit([Part(1, [span(Kind.LLM, "c", "a")])], 1)
    assert 0 == stored_spans(registry)
    assert 0 == sink.position()


def test_commits_only_so_often_while_more_comes_and_at_once_when_nothing_does(
    store: EmbeddedStore,
) -> None:
    registry = Registry()
    sink = sink_of(store, registry)
    for number in (1, 2):
        root = span(Kind.AGENT, f"a{number}", trace_id=f"t{number}")
        sink.commit([Part(number, [root])], number)
    assert (1, 1) == (stored_spans(registry), sink.position())
    sink.idle()
    assert (2, 2) == (stored_spans(registry), sink.position())
