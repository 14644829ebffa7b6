"""Exporting spans: what is written, and what whatever receivers do to it."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS
from tests.fakes.otlp_receiver import Handle, Receiver, raw, say
from tests.fakes.process import free_port, wait_for
from tests.fakes.spans import call, run, seen, span
from tocsin.app import delivery as delivery_module
from tocsin.app.delivery import BATCH, Delivery
from tocsin.app.export import SpanExporter, exporter
from tocsin.app.install import install
from tocsin.app.otlp_http import Answer, OtlpHttp, parse_target
from tocsin.errors import ConfigError
from tocsin.model.label import clean_name
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Observation, Span, Usage
from tocsin.sources.otlp import decode_traces
from tocsin.sources.otlp_encode import Finished, encode_traces, otlp_span_id, otlp_trace_id
from tocsin.sources.tocsin_attributes import (
    BUDGET_WORKER,
    NESTED,
    RUN_ID,
    RUN_OUTCOME,
    TAG,
)

Make = Callable[..., SpanExporter]

# --- what is written --------------------------------------------------------------------------

names = st.text(max_size=200).map(lambda text: clean_name(text) or "n")
maybe_names = st.none() | names
counts = st.integers(0, 1 << 39)
usages = st.none() | st.builds(Usage, counts, counts, counts, counts, counts)
ids = st.text("abc0", min_size=1, max_size=40)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """What the pipeline observes of the SDK's spans: each kind with its own fields."""
    kind = draw(st.sampled_from(Kind))
    by_kind: dict[Kind, Callable[[], dict[str, Any]]] = {
        Kind.LLM: lambda: {
            "model": draw(maybe_names),
            "response_model": draw(maybe_names),
            "service_tier": draw(maybe_names),
            "usage": draw(usages),
            "first_token_s": draw(st.none() | st.floats(0, 1e6)),
            "calls": draw(st.integers(0, 3)),
        },
        Kind.TOOL: lambda: {
            "arguments": draw(st.none() | st.integers(-(1 << 63), (1 << 63) - 1)),
            "is_retry": draw(st.booleans()),
        },
        Kind.HANDOFF: lambda: {"from_agent": draw(names), "to_agent": draw(names)},
        Kind.GUARDRAIL: lambda: {"triggered": draw(st.booleans())},
    }
    fields = by_kind[kind]() if kind in by_kind else {}
    found = Span(
        kind=kind,
        trace_id=draw(ids),
        span_id=draw(ids),
        parent_id=draw(st.none() | ids),
        name=draw(names),
        started_ns=NOON_NS,
        ended_ns=NOON_NS + draw(st.integers(0, 10**12)),
        error=draw(st.none() | st.sampled_from(ErrorClass)),
        outcome=draw(st.none() | st.sampled_from(Outcome)),
        conversation_id=draw(maybe_names),
        **fields,
    )
    return Observation(
        span=found,
        workflow=draw(names),
        run_id=draw(st.none() | ids),
        agent=draw(maybe_names),
        nested=draw(st.booleans()),
        retry=found.is_retry,
    )


@given(observations())
def test_what_is_written_is_read_back(observation: Observation) -> None:
    body = encode_traces([Finished(observation)], {"service.name": "shop"})
    decoded = decode_traces(body, is_json=True, now_ns=NOON_NS + 10**13)
    sent = observation.span
    is_inside = sent.kind in (Kind.LLM, Kind.EMBEDDING, Kind.TOOL)
    is_nested_turn = sent.kind is Kind.STEP and observation.nested

    expected = msgspec.structs.replace(
        sent,
        agent=observation.agent if is_inside else None,
        trace_id=otlp_trace_id(sent.trace_id),
        span_id=otlp_span_id(sent.span_id),
        parent_id=None if sent.parent_id in (None, sent.span_id) else otlp_span_id(sent.parent_id),
        workflow=observation.workflow,
        service="shop",
        scope="tocsin",
        attributes={RUN_ID: otlp_span_id(observation.run_id or sent.trace_id)}
        | ({NESTED: "true"} if is_nested_turn else {}),
    )
    assert ([expected], 0) == (decoded.spans, decoded.skipped.total())


def test_report_tells_the_run() -> None:
    ended = run(lasts_s=2, outcome=Outcome.MAX_TURNS, turns=7, input_tokens=5)
    item = Finished(seen(span(Kind.RUN, "r"), run_id="r"), ended)
    (read,) = decode_traces(encode_traces([item], {}), is_json=True).spans

    told = {name: read.attributes[f"tocsin.run.{name}"] for name in ("turns", "input_tokens")}
    assert "max_turns" == read.attributes[RUN_OUTCOME]
    assert {"turns": "7", "input_tokens": "5"} == told


def test_ids_are_the_sdks_where_they_fit() -> None:
    assert "ab" * 16 == otlp_trace_id("trace_" + "ab" * 16)
    assert "ab" * 8 == otlp_span_id("span_" + "AB" * 8)


@pytest.mark.parametrize("text", ["", "span_" + "ab" * 12, "0" * 16, "zz", "\ud800"])
def test_other_ids_become_digests_that_stay_the_same(text: str) -> None:
    assert 16 == len(otlp_span_id(text))
    assert otlp_span_id(text) == otlp_span_id(text)
    assert otlp_span_id(text) != otlp_span_id(text + "x")


def test_attributes_a_stranger_made_up_do_no_harm() -> None:
    pairs = {
        "tocsin.span.kind": "llm",
        "tocsin.run.id": "x" * 10_000,
        "tocsin.run.outcome": "splendid",
        "gen_ai.usage.input_tokens": -1,
        "gen_ai.usage.output_tokens": 1 << 62,
        "gen_ai.response.time_to_first_chunk": "soon",
        "error.type": "E_STRANGE",
    }
    value = {str: "stringValue", int: "intValue"}
    attributes = [{"key": k, "value": {value[type(v)]: v}} for k, v in pairs.items()]
    raw_span = {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "startTimeUnixNano": NOON_NS,
        "endTimeUnixNano": NOON_NS,
        "attributes": attributes,
    }
    body = msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [raw_span]}]}]})
    (read,) = decode_traces(body, is_json=True).spans

    assert (None, None, ErrorClass.OTHER) == (read.usage, read.first_token_s, read.error)
    assert {RUN_ID: "x" * 128} == read.attributes


# --- addresses and headers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://tocsin:4318", "http://tocsin:4318/v1/traces"),
        ("http://tocsin:4318/", "http://tocsin:4318/v1/traces"),
        ("https://o.example/otlp/v1/traces", "https://o.example:443/otlp/v1/traces"),
        ("http://[::1]:9/x/", "http://[::1]:9/x/v1/traces"),
    ],
)
def test_address_with_or_without_path(url: str, expected: str) -> None:
    assert expected == str(parse_target(url))


@pytest.mark.parametrize(
    "url",
    [
        *("", "tocsin:4318", "grpc://tocsin:4317", "http://", "http://h:99999", "http://h:x"),
        *("http://h/?key=1", "http://h/#a", "http://user:secret@h", "http://h\n", "http://[h", 7),
    ],
)
def test_wrong_address_is_a_config_error_that_says_what_to_write(url: Any) -> None:
    with pytest.raises(ConfigError, match=r"write|leave out") as caught:
        exporter(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        *({"a b": "x"}, {"a": "secret\r\nb: c"}, {"a": 7}, {7: "a"}, ["a"], {"a": "secrét"}),
        {"Content-Length": "1"},
    ],
)
def test_wrong_headers_are_a_config_error_without_their_value(headers: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        exporter("http://h", headers)
    assert "secr" not in str(caught.value)


def test_headers_without_an_address_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match="export_to"):
        install(export_headers={"a": "b"})


def test_calls_say_as_whom_their_process_reports_what_they_cost() -> None:
    tags = {"customer": "acme", "tier": "gold"}
    items = [
        Finished(seen(one, run_id="r", tags=tags))
        for one in (call(span_id="c"), span(Kind.TOOL, "t"))
    ]
    body = encode_traces(items, {}, budget_worker="w")
    llm, tool = decode_traces(body, is_json=True, now_ns=NOON_NS).spans

    told = {TAG + "customer": "acme", TAG + "tier": "gold", BUDGET_WORKER: "w"}
    assert told.items() <= llm.attributes.items()
    assert not told.keys() & tool.attributes.keys()
    for attribute in told:  # and nobody else is told
        assert attribute.encode() not in encode_traces(items, {})


# --- receivers, good and bad ------------------------------------------------------------------


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make exporters that wait a hundredth of the usual times; end them with the test."""
    monkeypatch.setattr(delivery_module, "FIRST_DELAY_S", 0.005)
    monkeypatch.setattr(delivery_module, "MAX_DELAY_S", 0.05)
    monkeypatch.setattr(delivery_module, "EVERY_S", 0.02)
    made: list[SpanExporter] = []

    def build(url: str, *, timeout_s: float = 10.0, limit: int = 20_000) -> SpanExporter:
        class Sender(OtlpHttp):
            def post(self, body: bytes, timeout_s: float = timeout_s) -> Answer:
                return super().post(body, timeout_s)

        target = parse_target(url)
        made.append(SpanExporter(Delivery(str(target), lambda: Sender(target, {}), limit=limit)))
        return made[-1]

    yield build
    for one in made:
        one.delivery.close(time.monotonic())


def send(to: SpanExporter, count: int = 1, first: int = 0) -> None:
    for number in range(first, first + count):
        to.span_ended(seen(call(span_id=f"s{number}"), run_id="r"))


def test_batches_share_a_connection(make: Make) -> None:
    with Receiver() as receiver:
        to = make(receiver.url)
        send(to, 2 * BATCH + 5)
        assert to.delivery.flush(10)

        assert 2 * BATCH + 5 == len(receiver.spans) == to.delivery.sent
        assert BATCH == max(len(one.spans) for one in receiver.received)
        assert 1 == len({one.port for one in receiver.received})


def test_spans_go_out_by_themselves(make: Make) -> None:
    with Receiver() as receiver:
        send(make(receiver.url))
        assert wait_for(lambda: receiver.spans)


def test_headers_are_sent_along() -> None:
    with Receiver() as receiver:
        to = exporter(receiver.url, {"authorization": "Bearer x"})
        send(to)
        assert to.delivery.flush(5)
        to.delivery.close(time.monotonic() + 1)
        (one,) = receiver.received

    assert ("/v1/traces", "Bearer x") == (one.path, one.headers["authorization"])
    assert "application/json" == one.headers["content-type"]


RETRIED = [
    ("429", say(429)),
    ("503", say(503)),
    ("503", say(503, Retry_After="0")),
    ("503", say(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")),
    ("503", say(503, Retry_After="nonsense")),
    ("502", say(502)),
    ("504", say(504, b"<html>")),
    ("connection", raw(b"")),
    ("bad answer", raw(b"SSH-2.0-OpenSSH\r\n")),
    ("bad answer", raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500 + b"\r\n")),
    ("bad answer", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")),
    ("timeout", raw(b"", hold_s=0.4)),
]


@pytest.mark.parametrize(("reason", "answer"), RETRIED)
def test_is_sent_again(make: Make, reason: str, answer: Handle) -> None:
    with Receiver(answer) as receiver:
        to = make(receiver.url, timeout_s=0.2)
        send(to)
        assert wait_for(lambda: to.delivery.sent)

        assert 2 == len(receiver.received)
        assert 1 == to.delivery.failures[reason]
        assert 0 == to.delivery.dropped.total()


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413, 415, 500, 501])
def test_is_refused_for_good_and_said_once(
    make: Make, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(*[say(status, Location="http://h/")] * 3) as receiver:
        to = make(receiver.url)
        for number in range(3):
            send(to, first=number)
            assert to.delivery.flush(5)
        send(to, first=9)
        assert to.delivery.flush(5)

        assert 4 == len(receiver.received)
    assert (3, 1) == (to.delivery.dropped["rejected"], to.delivery.sent)
    assert 1 == len(caplog.records)


def test_spans_left_out_by_the_receiver_are_counted(make: Make) -> None:
    with Receiver(say(200, b'{"partialSuccess": {"rejectedSpans": "2"}}')) as receiver:
        to = make(receiver.url)
        send(to, 5)
        assert to.delivery.flush(5)

    assert (3, 2) == (to.delivery.sent, to.delivery.dropped["rejected"])


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"\xff", b"x" * 1_000_000])
def test_answer_of_any_content_is_taken_by_its_status(make: Make, body: bytes) -> None:
    with Receiver(say(200, body), say(200, body)) as receiver:
        to = make(receiver.url)
        send(to)
        assert to.delivery.flush(5)
        send(to, first=1)
        assert to.delivery.flush(5)

        assert 2 == len(receiver.received) == to.delivery.sent


def test_answer_that_breaks_off_after_its_status_is_taken(make: Make) -> None:
    broken = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
    with Receiver(broken) as receiver:
        to = make(receiver.url)
        for number in range(2):
            send(to, first=number)
            assert to.delivery.flush(5)

        assert 2 == len(receiver.received) == to.delivery.sent


def test_retry_after_is_honoured(make: Make) -> None:
    with Receiver(say(429, Retry_After="1")) as receiver:
        to = make(receiver.url)
        begun_s = time.monotonic()
        send(to)
        assert wait_for(lambda: to.delivery.sent)

        assert 1.0 <= time.monotonic() - begun_s < 3
        assert 2 == len(receiver.received)


def test_answer_that_drips_is_ended(make: Make) -> None:
    def drip(request: Any) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
            request.wfile.write(bytes([byte]))
            time.sleep(0.02)

    with Receiver(drip) as receiver:
        to = make(receiver.url, timeout_s=0.2)
        send(to)
        begun_s = time.monotonic()
        while not to.delivery.sent and time.monotonic() - begun_s < 5:
            to.delivery.tick()
            time.sleep(0.01)

        assert time.monotonic() - begun_s < 2
        assert 2 == len(receiver.received)


def test_receiver_that_comes_back_gets_the_newest(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    to = make(f"http://127.0.0.1:{port}", limit=1000)
    send(to, 3000)
    assert wait_for(lambda: to.delivery.failures["connection"] >= 3)
    assert not to.delivery.flush(5)
    send(to, 3000, first=3000)
    assert to.delivery.depth <= 1000 + BATCH
    with Receiver(port=port) as receiver:
        assert wait_for(lambda: to.delivery.depth == 0)
        got = {one.span_id for one in receiver.spans}

    assert otlp_span_id("s5999") in got
    assert 6000 == to.delivery.sent + to.delivery.dropped["queue_full"]
    assert 2 == len(caplog.records)  # away, and back


def test_nobody_waits_for_a_slow_receiver(make: Make) -> None:
    with Receiver(raw(b"", hold_s=1.0)) as receiver:
        to = make(receiver.url)
        send(to)
        assert wait_for(lambda: receiver.received)
        begun_s = time.monotonic()
        send(to, 1000)

        assert time.monotonic() - begun_s < 0.5


def test_end_is_not_held_up(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(raw(b"", hold_s=3.0)) as receiver:
        to = make(receiver.url)
        send(to, 7)
        assert wait_for(lambda: receiver.received)
        begun_s = time.monotonic()
        to.delivery.close(begun_s + 0.3)

        assert time.monotonic() - begun_s < 0.6
        assert 7 == to.delivery.dropped["exit"]
        assert "7 spans could not be sent" in caplog.text


def test_end_sends_what_waits(make: Make) -> None:
    with Receiver() as receiver:
        to = make(receiver.url)
        send(to, 3 * BATCH)
        to.delivery.close(time.monotonic() + 5)

        assert 3 * BATCH == len(receiver.spans)


def test_end_tries_once_where_the_receiver_was_away(make: Make) -> None:
    to = make(f"http://127.0.0.1:{free_port()}")
    send(to, 2 * BATCH)
    begun_s = time.monotonic()
    to.delivery.close(begun_s + 5)

    assert time.monotonic() - begun_s < 2
    assert 2 * BATCH == to.delivery.dropped["exit"]


def test_a_fork_starts_from_nothing(make: Make) -> None:
    with Receiver() as receiver:
        to = make(receiver.url)
        send(to)
        assert to.delivery.flush(5)
        to.reset_after_fork()
        assert (0, 0) == (to.delivery.depth, to.delivery.sent)
        send(to, first=1)
        assert to.delivery.flush(5)

        assert 2 == len({one.port for one in receiver.received})


def test_secrets_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver(say(401), raw(b"")) as receiver:
        to = exporter(receiver.url, {"authorization": "Bearer secret"})
        for number in range(2):
            send(to, first=number)
            to.delivery.flush(5)
        to.delivery.close(time.monotonic() + 1)

    assert caplog.records
    assert "secret" not in caplog.text


def test_tls_needs_a_certificate_that_is_trusted(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        to = make(f"https://127.0.0.1:{server.getsockname()[1]}", timeout_s=1)
        send(to)
        assert wait_for(lambda: to.delivery.failures.total())

    assert 0 == to.delivery.sent


# --- runs -------------------------------------------------------------------------------------


def test_a_run_without_a_root_gets_one(make: Make) -> None:
    with Receiver() as receiver:
        to = make(receiver.url)
        to.run_started(run("a"))
        to.span_ended(seen(span(Kind.AGENT, "a"), run_id="a"))
        to.run_ended(run("a", lasts_s=2, outcome=Outcome.OK), None)
        assert to.delivery.flush(5)
        agent, report = receiver.spans

    assert report.span_id == agent.parent_id
    assert (Kind.RUN, "ok", 2.0) == (
        report.kind,
        report.attributes[RUN_OUTCOME],
        report.duration_s,
    )


def test_a_root_waits_for_the_outcome_and_a_late_one_for_nothing(make: Make) -> None:
    with Receiver() as receiver:
        to = make(receiver.url)
        root = seen(span(Kind.RUN, "r"), run_id="r")
        to.run_started(run("r"))
        to.span_ended(root)
        assert to.delivery.flush(5)
        assert [] == receiver.spans
        to.run_ended(run("r", lasts_s=2, outcome=Outcome.ERROR), None)
        to.span_ended(root)
        assert to.delivery.flush(5)

        assert ["error", None] == [one.attributes.get(RUN_OUTCOME) for one in receiver.spans]
