"""A call that its client library reports beside an instrumentation counts once."""

from typing import Any

import pytest

from tocsin.model.span import ErrorClass, Kind, Span, Usage
from tocsin.runs.client_spans import MAX_RECENT, ClientSpans

WHOLE = Usage(120, 30, 64, 20)


def call(trace: str, started: int, ended: int, **fields: Any) -> Span:
    given: dict[str, Any] = {
        "scope": "strands.telemetry.tracer",
        "usage": Usage(36, 30),
        "parent_id": "agent",
        "span_id": f"{trace}-{started}",
    }
    return Span(
        trace_id=trace,
        kind=Kind.LLM,
        name="call",
        started_ns=started,
        ended_ns=ended,
        model="claude",
        service="shop",
        **given | fields,
    )


def client(trace: str, started: int, ended: int, **fields: Any) -> Span:
    given: dict[str, Any] = {"scope": "com.anthropic.sdk.python", "usage": WHOLE, "parent_id": None}
    return call(trace, started, ended, **given | fields)


OUTER, INNER = call("a", 10, 90), client("b", 20, 80, response_id="msg_1", first_token_s=0.2)


def left(*traces: list[Span]) -> list[list[Span]]:
    """What is left of each trace, when all have come before any is looked at."""
    clients = ClientSpans()
    for span in (span for trace in traces for span in trace):
        clients.note(span)
    return [clients.without_repeats({span.span_id: span for span in trace}) for trace in traces]


@pytest.mark.parametrize("is_first", [True, False])
def test_the_clients_span_is_dropped_and_the_other_learns_its_tokens(is_first: bool) -> None:
    traces = ([INNER], [OUTER]) if is_first else ([OUTER], [INNER])
    outer, inner = reversed(left(*traces)) if is_first else left(*traces)
    assert [] == inner
    assert [(WHOLE, 0.2)] == [(span.usage, span.first_token_s) for span in outer]


def test_failures_are_one_failure() -> None:
    failed: dict[str, Any] = {"usage": None, "error": ErrorClass.RATE_LIMIT}
    outer, inner = call("a", 10, 90, **failed), client("b", 20, 80, **failed)
    assert [[outer], []] == left([outer], [inner])


def test_a_failed_attempt_inside_of_a_success_is_a_call() -> None:
    failed = client("b", 20, 30, usage=None, error=ErrorClass.RATE_LIMIT)
    assert [[failed]] == left([OUTER], [failed])[1:]


def test_the_same_response_is_the_same_call_whatever_the_clocks_say() -> None:
    outer = call("a", 10, 70, response_id="msg_1", usage=Usage(120, 31, 64, 20))
    assert [] == left([outer], [INNER])[1]
    assert WHOLE == left([outer], [INNER])[0][0].usage


@pytest.mark.parametrize(
    "other",
    [
        call("a", 30, 90),
        call("a", 10, 90, response_id="msg_2"),
        client("a", 10, 90),
    ],
    ids=["not around", "another response", "the client itself"],
)
def test_other_calls_stay(other: Span) -> None:
    assert [[other], [INNER]] == left([other], [INNER])


def test_tokens_that_differ_otherwise_are_left_alone() -> None:
    outer = call("a", 10, 90, usage=Usage(500, 30))
    assert [outer.usage] == [span.usage for span in left([outer], [INNER])[0]]


def test_a_clients_span_inside_of_the_call_is_left_to_other_rules() -> None:
    inner = client("a", 20, 80, parent_id=OUTER.span_id)
    assert [[OUTER, inner]] == left([OUTER, inner])


def test_a_clients_span_that_was_counted_stays_and_the_lone_call_goes() -> None:
    clients = ClientSpans()
    clients.note(INNER)
    assert [INNER] == clients.without_repeats({"b": INNER})
    clients.note(OUTER)
    assert [] == clients.without_repeats({"a": OUTER})


def test_only_recent_calls_are_remembered() -> None:
    clients = ClientSpans()
    clients.note(INNER)
    for index in range(MAX_RECENT + 1):
        clients.note(call(f"t{index}", 100 + index, 200))
    clients.note(OUTER)
    for index in range(MAX_RECENT):
        clients.note(call(f"u{index}", 100 + index, 200))
    assert [INNER] == clients.without_repeats({"b": INNER})
