import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS, NS
from tests.fakes.hostile import hostile_events
from tests.fakes.spans import SDK_DATA, sdk_span, sdk_trace
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, RunEnd, Span, SpanStart, TraceEnd, Usage
from tocsin.sources.agents_sdk import decode, events, fields
from tocsin.sources.agents_sdk.decode import Decoder, Malformed
from tocsin.sources.agents_sdk.events import Ticket

USAGE = {"input_tokens": 10, "output_tokens": 5}


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(open_ttl_ns=60 * NS)


def begin(decoder: Decoder, span: Any, ticket: Ticket | None = None, at_ns: int = 0) -> Any:
    return decoder.decode((events.SPAN_START, span, at_ns, ticket))


def end(decoder: Decoder, span: Any, at_ns: int = 2 * NS) -> Any:
    return decoder.decode((events.SPAN_END, span, at_ns, None))


def ended(decoder: Decoder, kind: str, **fields: Any) -> Span:
    """The span that comes of a start and an end; the fields are set in between, as the SDK does."""
    span = sdk_span(kind)
    begin(decoder, span)
    for name, value in fields.items():
        setattr(span if hasattr(span, name) else span.span_data, name, value)
    found = end(decoder, span)
    assert isinstance(found, Span)
    return found


KINDS = [
    ("task", Kind.RUN),
    ("turn", Kind.STEP),
    ("agent", Kind.AGENT),
    ("response", Kind.LLM),
    ("generation", Kind.LLM),
    ("function", Kind.TOOL),
    ("handoff", Kind.HANDOFF),
    ("guardrail", Kind.GUARDRAIL),
    ("custom", Kind.OTHER),
    ("mcp_tools", Kind.OTHER),
    ("speech", Kind.OTHER),
    (None, Kind.OTHER),
]


@pytest.mark.parametrize(("kind", "expected"), KINDS)
def test_kind(decoder: Decoder, kind: Any, expected: Kind) -> None:
    span = sdk_span(kind)

    assert (expected, expected) == (begin(decoder, span).kind, end(decoder, span).kind)


def test_start_says_where_and_when(decoder: Decoder) -> None:
    found = begin(decoder, sdk_span("function", "s", parent_id="p"), at_ns=7)

    assert found == SpanStart(
        trace_id="t",
        span_id="s",
        parent_id="p",
        kind=Kind.TOOL,
        name="lookup",
        workflow="unknown",
        started_ns=NOON_NS,
        started_mono_ns=7,
    )


def test_duration_is_monotonic_where_the_start_was_seen(decoder: Decoder) -> None:
    span = sdk_span("function", ended_at="1999-01-01T00:00:00+00:00")
    begin(decoder, span, at_ns=5 * NS)

    assert 3.0 == end(decoder, span, at_ns=8 * NS).duration_s


def test_end_without_a_start_has_the_spans_own_times(decoder: Decoder) -> None:
    assert 2.0 == end(decoder, sdk_span("function")).duration_s


@pytest.mark.parametrize("field", ["started_at", "ended_at"])
@pytest.mark.parametrize("value", [None, 7, "never", "9999-12-31T23:59:59.999999-14:00"])
def test_end_without_times_takes_no_time(decoder: Decoder, field: str, value: Any) -> None:
    span = sdk_span("function", started_at=None, ended_at=None)
    setattr(span, field, value)

    assert 0.0 == end(decoder, span).duration_s


# --- names --------------------------------------------------------------------------------

WORKFLOWS = [
    ("Support", "Billing", "Support"),
    ("Agent workflow", "Billing", "Billing"),
    ("Agent workflow", None, "Agent workflow"),
    ("Agent workflow", "", "Agent workflow"),
    (None, "Billing", "Billing"),
    (None, None, "unknown"),
    (7, "Billing", "Billing"),
    ("Sup\nport\x00\u202e", None, "Sup port"),
    ("x" * 10_000_000, None, "x" * 128),
    ("\ud800", "Billing", "Billing"),
]


@pytest.mark.parametrize(("name", "trace_name", "expected"), WORKFLOWS)
def test_workflow_is_named_by_the_run_or_its_trace(
    decoder: Decoder, name: Any, trace_name: Any, expected: str
) -> None:
    decoder.decode((events.TRACE_START, sdk_trace(name=trace_name), 0, None))
    found = begin(decoder, sdk_span("task", name=name))

    assert (expected, expected) == (found.workflow, found.name)


def test_runs_without_a_task_are_named_by_their_trace(decoder: Decoder) -> None:
    decoder.decode((events.TRACE_START, sdk_trace(name="Billing"), 0, None))

    assert "Billing" == begin(decoder, sdk_span("agent")).workflow


def test_conversation_is_the_traces_group(decoder: Decoder) -> None:
    decoder.decode((events.TRACE_START, sdk_trace(group_id="chat-7"), 0, None))

    assert "chat-7" == begin(decoder, sdk_span("task")).conversation_id


@pytest.mark.parametrize("group", [None, 7, "", "x" * 300])
def test_group_that_is_no_id_is_no_conversation(decoder: Decoder, group: Any) -> None:
    decoder.decode((events.TRACE_START, sdk_trace(group_id=group), 0, None))

    assert begin(decoder, sdk_span("task")).conversation_id is None


def tagged(decoder: Decoder, ticket: Ticket | None, kind: str = "task") -> Any:
    decoder.tag_names = frozenset({"customer", "plan"})
    trace = sdk_trace(group_id="chat-7")
    trace.metadata = {"customer": "acme", "plan": "free", "secret": "s3cret"}
    decoder.decode((events.TRACE_START, trace, 0, None))
    return begin(decoder, sdk_span(kind), ticket)


def test_tags_are_the_traces_and_the_runs_own_win(decoder: Decoder) -> None:
    found = tagged(decoder, Ticket(tags={"customer": "zorg"}, is_guarded=True))

    assert {"customer": "zorg", "plan": "free"} == found.tags
    assert found.is_guarded


def test_without_a_watched_runner_tags_are_the_traces(decoder: Decoder) -> None:
    found = tagged(decoder, None)

    assert {"customer": "acme", "plan": "free"} == found.tags
    assert not found.is_guarded


def test_no_tags_are_read_where_nobody_asks_for_them(decoder: Decoder) -> None:
    trace = sdk_trace()
    trace.metadata = {"customer": "acme"}
    decoder.decode((events.TRACE_START, trace, 0, None))

    assert begin(decoder, sdk_span("task")).tags is None


# --- duplicates and lost ends -------------------------------------------------------------


def test_events_that_several_faces_hand_over_count_once(decoder: Decoder) -> None:
    span = sdk_span("function")
    found = [begin(decoder, span), begin(decoder, span), end(decoder, span), end(decoder, span)]

    assert [SpanStart, None, Span, None] == [one and type(one) for one in found]


def test_start_that_comes_after_its_end_is_none(decoder: Decoder) -> None:
    span = sdk_span("function")
    end(decoder, span)

    assert begin(decoder, span) is None


def test_runner_is_tied_to_the_first_root_span(decoder: Decoder) -> None:
    ticket = Ticket()
    found = [
        begin(decoder, sdk_span("custom", "c"), ticket),
        begin(decoder, sdk_span("task", "r"), ticket),
        begin(decoder, sdk_span("agent", "a"), ticket),
    ]

    assert [False, True, False] == [one.reports_end for one in found]
    assert "r" == ticket.span_id


def test_run_end_names_the_root_span(decoder: Decoder) -> None:
    found = decoder.decode((events.RUN_END, Ticket("r"), 0, Outcome.OK))

    assert isinstance(found, RunEnd)
    assert ("r", Outcome.OK) == (found.span_id, found.outcome)


def test_run_without_spans_is_counted(decoder: Decoder) -> None:
    assert decoder.decode((events.RUN_END, Ticket(), 0, Outcome.OK)) is None
    assert 1 == decoder.untraced_runs


def test_trace_end(decoder: Decoder) -> None:
    found = decoder.decode((events.TRACE_END, sdk_trace(), 0, None))

    assert isinstance(found, TraceEnd)
    assert "t" == found.trace_id


# --- LLM calls ----------------------------------------------------------------------------


def test_response_tells_its_model_tier_and_usage(decoder: Decoder) -> None:
    response = SimpleNamespace(model="gpt-4o-2024-08-06", service_tier="priority", usage=None)
    found = ended(decoder, "response", response=response, usage=USAGE)

    assert ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "priority", Usage(10, 5), None) == (
        found.model,
        found.response_model,
        found.service_tier,
        found.usage,
        found.error,
    )


def test_usage_of_older_sdks_is_on_the_response(decoder: Decoder) -> None:
    span = sdk_span("response", response=SimpleNamespace(model="m", usage=USAGE))
    del span.span_data.usage

    assert Usage(10, 5) == end(decoder, span).usage


def test_generation_tells_the_requested_model_and_endpoint(decoder: Decoder) -> None:
    found = ended(
        decoder,
        "generation",
        output=[{"model": "gpt-4o-2024-08-06", "service_tier": "flex"}],
        usage=USAGE,
    )

    assert ("gpt-4o", "gpt-4o-2024-08-06", "https://api.openai.com/v1/", "flex") == (
        found.model,
        found.response_model,
        found.endpoint,
        found.service_tier,
    )


def test_watched_call_knows_more_than_its_span(decoder: Decoder) -> None:
    span = sdk_span("response")
    begin(decoder, span)
    decoder.decode((events.CALL, "s", 1, ("gpt-4o", "https://api.openai.com/v1/")))
    decoder.decode((events.FIRST_TOKEN, "s", NS // 2, None))
    decoder.decode((events.FIRST_TOKEN, "s", NS, None))
    decoder.decode((events.CALL_FAILED, "s", NS, ErrorClass.CONNECTION))
    span.error = {"message": "Error getting response", "data": {"error": "who knows"}}
    found = end(decoder, span)

    assert ("gpt-4o", "https://api.openai.com/v1/", 0.5, ErrorClass.CONNECTION) == (
        found.model,
        found.endpoint,
        found.first_token_s,
        found.error,
    )


def test_watched_call_of_an_unknown_span_is_ignored(decoder: Decoder) -> None:
    assert decoder.decode((events.CALL, "gone", 1, ("m", None))) is None


def test_timeout_that_cancelled_a_call_is_a_timeout(decoder: Decoder) -> None:
    span = sdk_span("response")
    begin(decoder, span)
    decoder.decode((events.CALL_FAILED, "s", NS, ErrorClass.CANCELLED))
    span.error = {"message": "Request timed out.", "data": None}

    assert ErrorClass.TIMEOUT is end(decoder, span).error


def test_call_without_usage_or_error_was_cut_off(decoder: Decoder) -> None:
    found = ended(decoder, "response")

    assert (ErrorClass.CANCELLED, Outcome.CANCELLED) == (found.error, found.outcome)


def test_zero_usage_is_unknown_and_no_failure(decoder: Decoder) -> None:
    found = ended(decoder, "generation", usage={"input_tokens": 0, "output_tokens": 0})

    assert (None, None) == (found.usage, found.error)


def test_span_of_a_foreign_model_without_usage_is_no_failure(decoder: Decoder) -> None:
    found = ended(decoder, "generation", model_config={"vendor": "x"})

    assert (None, None) == (found.usage, found.error)


# --- the other kinds ----------------------------------------------------------------------

STEPS = [
    (None, None, None),
    ({"message": "Max turns exceeded", "data": {}}, ErrorClass.OTHER, Outcome.MAX_TURNS),
    ({"message": "Guardrail tripwire triggered"}, ErrorClass.OTHER, Outcome.GUARDRAIL),
    ({"message": "Error in agent run"}, ErrorClass.OTHER, Outcome.ERROR),
    ("broken", ErrorClass.OTHER, Outcome.ERROR),
]


@pytest.mark.parametrize("kind", ["agent", "turn"])
@pytest.mark.parametrize(("error", "expected", "outcome"), STEPS)
def test_agent_and_turn_say_how_the_run_went(
    decoder: Decoder, kind: str, error: Any, expected: Any, outcome: Any
) -> None:
    found = ended(decoder, kind, error=error)

    assert (expected, outcome) == (found.error, found.outcome)


HANDOFFS = [
    ("b", None, "b", None),
    (None, None, "unknown", ErrorClass.OTHER),
    ("b", {"message": "Multiple handoffs"}, "b", ErrorClass.OTHER),
]


@pytest.mark.parametrize(("to_agent", "error", "expected", "failure"), HANDOFFS)
def test_handoff(decoder: Decoder, to_agent: Any, error: Any, expected: str, failure: Any) -> None:
    found = ended(decoder, "handoff", to_agent=to_agent, error=error)

    assert ("a", expected, failure) == (found.from_agent, found.to_agent, found.error)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), (1, False), ("yes", False)]
)
def test_guardrail(decoder: Decoder, value: Any, expected: bool) -> None:
    assert expected is ended(decoder, "guardrail", triggered=value).triggered


def test_rollup_of_a_run_covers_no_call(decoder: Decoder) -> None:
    found = ended(decoder, "task", usage=USAGE)

    assert (Usage(10, 5), 0) == (found.usage, found.calls)


def test_tool_arguments_are_hashed(decoder: Decoder) -> None:
    assert fields.arguments_hash("{}", "t") == ended(decoder, "function").arguments


# --- hostility ----------------------------------------------------------------------------


@pytest.mark.parametrize("span_id", [None, "", 7, "x" * 300, [], {}])
def test_span_without_an_id_is_malformed(decoder: Decoder, span_id: Any) -> None:
    with pytest.raises(Malformed, match="no span id"):
        begin(decoder, sdk_span("task", span_id))


@pytest.mark.parametrize("trace_id", [None, "", 7, "x" * 300])
@pytest.mark.parametrize("kind", [events.TRACE_START, events.TRACE_END])
def test_trace_without_an_id_is_malformed(decoder: Decoder, trace_id: Any, kind: int) -> None:
    with pytest.raises(Malformed, match="no trace id"):
        decoder.decode((kind, sdk_trace(trace_id), 0, None))


class Hostile:
    """Every attribute raises, which `error` tells."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), MemoryError(), SystemExit()])
@pytest.mark.parametrize("kind", range(4))
def test_raising_attributes_raise_what_they_raise_and_break_nothing(
    decoder: Decoder, error: BaseException, kind: int
) -> None:
    with pytest.raises(type(error)):
        decoder.decode((kind, Hostile(error), 0, None))

    assert begin(decoder, sdk_span("task", "next")) is not None


@pytest.mark.parametrize("kind", SDK_DATA)
def test_span_data_without_any_fields_is_read_or_refused(decoder: Decoder, kind: str) -> None:
    span = sdk_span(kind)
    span.span_data = SimpleNamespace(type=kind)

    for take in (begin, end):
        try:
            assert isinstance(take(decoder, span), SpanStart | Span)
        except AttributeError as error:
            assert "has no attribute" in str(error)  # noqa: PT017 - either is right


def test_tables_are_bounded(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_OPEN", "MAX_CLOSED", "MAX_TRACES"):
        monkeypatch.setattr(decode, limit, 50)
    for n in range(500):
        decoder.decode((events.TRACE_START, sdk_trace(f"t{n}"), 0, None))
        begin(decoder, sdk_span("task", f"open{n}"))
        end(decoder, sdk_span("task", f"end{n}"))

    assert [50] * 3 == [len(t) for t in (decoder._open, decoder._closed, decoder._traces)]


def test_spans_that_never_end_are_forgotten(decoder: Decoder) -> None:
    for n in range(10):
        begin(decoder, sdk_span("task", str(n)), at_ns=n * NS)
    decoder.expire(64 * NS)

    assert list("56789") == list(decoder._open)


@given(st.lists(hostile_events, max_size=12))
def test_any_event_is_a_record_or_none_or_raises_an_exception(sequence: list[Any]) -> None:
    decoder = Decoder(open_ttl_ns=60 * NS)
    for event in sequence:
        record: object = None
        with contextlib.suppress(Exception):  # Watcher counts it as malformed
            record = decoder.decode(event)
        assert record is None or isinstance(record, SpanStart | Span | RunEnd | TraceEnd)
