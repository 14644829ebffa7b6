"""Every recorded scenario of other libraries comes out as its definition says."""

import random
from functools import cache
from typing import Any

import msgspec
import pytest

from tests.fakes.recordings import RECORDINGS, Truth, read_truth, requests, truths
from tocsin.model.span import Span
from tocsin.runs.fold import FoldedRun
from tocsin.runs.traces import TraceBook
from tocsin.sources.any_value import decode_any_value
from tocsin.sources.otlp import decode_traces
from tocsin.sources.otlp_wire import Request

TRUTHS = truths()
NAMES = sorted(TRUTHS) or [("none", "none")]

pytestmark = pytest.mark.skipif(not TRUTHS, reason=f"no recordings at {RECORDINGS.name}")

NS_PER_S = 1_000_000_000


@cache
def json_requests(recording: str) -> dict[str, Any]:
    return requests(recording)


@cache
def binary_spans(recording: str) -> dict[str, list[Span]]:
    """Spans of the one binary request that holds every scenario."""
    body = (RECORDINGS / f"{recording}.pb").read_bytes()
    found: dict[str, list[Span]] = {}
    for resource_spans in Request.FromString(body).resource_spans:
        scenario = decode_any_value(resource_spans.resource.attributes["fixture.scenario"])
        one = Request(resource_spans=[resource_spans]).SerializeToString()
        decoded = decode_traces(one, is_json=False)
        assert (0, 0) == (decoded.skipped.total(), decoded.repaired.total())
        found.setdefault(str(scenario), []).extend(decoded.spans)
    return found


def arrive(spans: list[Span], seed: str) -> list[FoldedRun]:
    """Let spans come in any order, in batches of any size, some of them twice."""
    dice = random.Random(seed)
    spans = [*spans, *dice.sample(spans, k=min(3, len(spans)))]
    dice.shuffle(spans)
    book = TraceBook()
    position = now_ns = 0
    while spans:
        size = dice.randint(1, 5)
        batch, spans = spans[:size], spans[size:]
        position += 1
        now_ns += NS_PER_S // 100
        book.add(batch, position, now_ns)
        assert [] == book.settled(now_ns)
    runs = [run for trace in book.settled(now_ns + 2 * NS_PER_S) for run in trace.runs]
    runs += [run for trace in book.settled(now_ns + 100 * NS_PER_S) for run in trace.runs]
    return runs


def check(name: tuple[str, str], spans: list[Span]) -> None:
    truth = TRUTHS[name]
    runs = arrive(spans, seed=repr(name))
    assert truth == read_truth(runs, judged=truth.outcome is not None)


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_json(name: tuple[str, str]) -> None:
    recording, scenario = name
    decoded = decode_traces(msgspec.json.encode(json_requests(recording)[scenario]), is_json=True)
    assert (0, 0) == (decoded.skipped.total(), decoded.repaired.total())
    check(name, decoded.spans)


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_protobuf(name: tuple[str, str]) -> None:
    recording, scenario = name
    check(name, binary_spans(recording).get(scenario, []))


@pytest.mark.parametrize("recording", sorted({recording for recording, _ in NAMES}))
def test_json_and_protobuf_say_the_same(recording: str) -> None:
    binary = binary_spans(recording)
    for scenario, request in json_requests(recording).items():
        if (recording, scenario) in TRUTHS:
            decoded = decode_traces(msgspec.json.encode(request), is_json=True)
            assert binary.get(scenario, []) == decoded.spans


@pytest.mark.parametrize("recording", sorted({recording for recording, _ in NAMES}))
def test_nothing_of_a_conversation_is_kept(recording: str) -> None:
    said = ("Hello from the fake model", "21C and sunny", "Say hello", "loop weather", "Be helpful")
    everything = repr(binary_spans(recording))
    assert [] == [text for text in said if text in everything]


def test_the_table_has_every_scenario() -> None:
    assert 234 <= len(TRUTHS)
    assert isinstance(next(iter(TRUTHS.values())), Truth)
