"""Quality signals of what other libraries sent, judged when their traces are whole."""

from typing import Any

import msgspec
import pytest

from tests.fakes.counts import Page
from tests.fakes.recordings import requests, truths
from tests.fakes.spans import span
from tocsin.meters.record import Recorder
from tocsin.meters.registry import Registry
from tocsin.model.span import Kind, Span
from tocsin.pricing.catalogue import PriceBook
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.sources.otlp import decode_traces

TELLING = {"content_filter": {"filtered_answer": 1}, "finish_length": {"truncated_answer": 1}}
"""Scenario -> what it shows, in libraries that report why an answer ended."""
RECORDED = list(truths())


def signals(*batches: list[Span]) -> dict[str, float]:
    registry = Registry()
    book, counter = TraceBook(), RunCounter(PriceBook(), [Recorder(registry)])
    for position, spans in enumerate(batches, 1):
        book.add(spans, position, 0)
    for settled in book.settled(0, everything=True):
        counter.count(settled)
    return Page(registry.collect()).by("agent_quality_signals_total", "signal")


@pytest.mark.parametrize(("recording", "scenario"), RECORDED)
def test_recorded_runs_raise_only_what_they_show(recording: str, scenario: str) -> None:
    body: Any = requests(recording)[scenario]
    bodies = body if isinstance(body, list) else [body]
    spans = [decode_traces(msgspec.json.encode(one), is_json=True).spans for one in bodies]
    assert signals(*spans) in ({}, TELLING.get(scenario, {}))


def test_loop_is_counted_once_its_trace_is_whole() -> None:
    agent = span(Kind.AGENT, "a", lasts_s=60)
    calls = [span(Kind.TOOL, f"{n}", "a", at_s=n, arguments=1) for n in range(15)]
    assert {"tool_loop": 1} == signals([agent, *calls])
    assert {} == signals([agent, *calls[:8]])
