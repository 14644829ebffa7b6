"""Every recorded scenario of other libraries comes out as its definition says."""

from functools import cache
from typing import Any

import msgspec
import pytest

from tests.fakes.recordings import RECORDINGS, Truth, binary_spans, check, requests, truths
from tocsin.model.span import Span
from tocsin.sources.otlp import decode_traces

TRUTHS = truths()
NAMES = sorted(TRUTHS) or [("none", "none")]

pytestmark = pytest.mark.skipif(not TRUTHS, reason=f"no recordings at {RECORDINGS.name}")


@cache
def json_requests(recording: str) -> dict[str, Any]:
    return requests(recording)


@cache
def spans_of(recording: str) -> dict[str, list[Span]]:
    return binary_spans(recording)


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_json(name: tuple[str, str]) -> None:
    recording, scenario = name
    decoded = decode_traces(msgspec.json.encode(json_requests(recording)[scenario]), is_json=True)
    assert (0, 0) == (decoded.skipped.total(), decoded.repaired.total())
    check(TRUTHS[name], decoded.spans, repr(name))


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_protobuf(name: tuple[str, str]) -> None:
    recording, scenario = name
    check(TRUTHS[name], spans_of(recording).get(scenario, []), repr(name))


@pytest.mark.parametrize("recording", sorted({recording for recording, _ in NAMES}))
def test_json_and_protobuf_say_the_same(recording: str) -> None:
    binary = spans_of(recording)
    for scenario, request in json_requests(recording).items():
        if (recording, scenario) in TRUTHS:
            decoded = decode_traces(msgspec.json.encode(request), is_json=True)
            assert binary.get(scenario, []) == decoded.spans


@pytest.mark.parametrize("recording", sorted({recording for recording, _ in NAMES}))
def test_nothing_of_a_conversation_is_kept(recording: str) -> None:
    said = ("Hello from the fake model", "21C and sunny", "Say hello", "loop weather", "Be helpful")
    everything = repr(spans_of(recording))
    assert [] == [text for text in said if text in everything]


def test_the_table_has_every_scenario() -> None:
    assert 234 <= len(TRUTHS)
    assert isinstance(next(iter(TRUTHS.values())), Truth)
