"""Every scenario that we recorded of other libraries comes out as the program that was recorded."""

from functools import cache

import pytest

from tests.fakes.recordings import OWN_RECORDINGS, binary_spans, check, truths
from tocsin.model.span import Kind, Span

TRUTHS = truths(OWN_RECORDINGS)
RECORDED = sorted({recording for recording, _ in TRUTHS})


@cache
def spans_of(recording: str) -> dict[str, list[Span]]:
    return binary_spans(recording, OWN_RECORDINGS)


@pytest.mark.parametrize("name", sorted(TRUTHS), ids="-".join)
def test_protobuf(name: tuple[str, str]) -> None:
    recording, scenario = name
    check(TRUTHS[name], spans_of(recording)[scenario], repr(name))


@pytest.mark.parametrize("recording", RECORDED)
def test_calls_tell_the_endpoints_output(recording: str) -> None:
    calls = [s for spans in spans_of(recording).values() for s in spans if s.kind is Kind.LLM]
    told = {call.usage.output_tokens for call in calls if call.usage is not None}
    # OpenLLMetry adds the first token of a stream of Anthropic's to all of them.
    assert told <= ({30, 31} if recording == "traceloop_anthropic" else {30})


@pytest.mark.parametrize("recording", RECORDED)
def test_nothing_of_a_conversation_is_kept(recording: str) -> None:
    everything = repr(spans_of(recording))
    said = ("Done: fine", "Task one", "Task two", "Be helpful", "no such city")
    assert [] == [text for text in said if text in everything]


def test_every_recording_is_named_and_judged() -> None:
    versions = (OWN_RECORDINGS / "VERSIONS.txt").read_text().splitlines()
    named = {line.partition(":")[0] for line in versions[3:]}
    assert named == {path.stem for path in OWN_RECORDINGS.glob("*.pb")} == set(RECORDED)
