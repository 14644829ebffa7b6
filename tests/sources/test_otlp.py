"""What is wrong with single spans is repaired or skipped, and counted."""

from collections import Counter
from typing import Any

import pytest

from tests.fakes.otlp import (
    NOW_NS,
    START_NS,
    decode_one,
    decode_protobuf,
    otlp_span,
    request,
)
from tocsin.sources.otlp import Decoded

DAY_NS = 86_400 * 10**9


def decode(**fields: Any) -> Decoded:
    return decode_protobuf(request(otlp_span(**fields)).SerializeToString())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b"short"}, "trace_id"),
        ({"trace_id": bytes(16)}, "trace_id"),
        ({"span_id": b""}, "span_id"),
        ({"span_id": b"s" * 9}, "span_id"),
        ({"span_id": bytes(8)}, "span_id"),
        ({"start_time_unix_nano": 0, "end_time_unix_nano": 0}, "no_time"),
        ({"end_time_unix_nano": NOW_NS + 2 * DAY_NS}, "future"),
        ({"start_time_unix_nano": 2**64 - 1}, "future"),
    ],
)
def test_spans_without_identity_or_time_are_skipped(fields: dict[str, Any], reason: str) -> None:
    assert Decoded([], Counter({reason: 1}), Counter({})) == decode(**fields)


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"start_time_unix_nano": 0, "end_time_unix_nano": START_NS}, (START_NS, START_NS)),
        ({"end_time_unix_nano": 0}, (START_NS, START_NS)),
        ({"end_time_unix_nano": START_NS - 5}, (START_NS, START_NS)),
    ],
    ids=["no start", "no end", "end before start"],
)
def test_one_good_time_is_enough(fields: dict[str, Any], times: tuple[int, int]) -> None:
    decoded = decode(**fields)
    assert [times] == [(span.started_ns, span.ended_ns) for span in decoded.spans]
    assert ({}, {"one_time": 1}) == (decoded.skipped, decoded.repaired)


@pytest.mark.parametrize("parent", [b"odd", b"s" * 8], ids=["wrong length", "itself"])
def test_a_parent_that_cannot_be_is_dropped(parent: bytes) -> None:
    decoded = decode(parent_span_id=parent)
    assert [None] == [span.parent_id for span in decoded.spans]
    assert {"parent_id": 1} == decoded.repaired


def test_a_zero_parent_is_no_parent() -> None:
    decoded = decode(parent_span_id=bytes(8))
    assert ([None], {}) == ([span.parent_id for span in decoded.spans], decoded.repaired)


def test_one_bad_span_costs_no_other() -> None:
    made = request(otlp_span(span_id=b""), otlp_span("good"))
    decoded = decode_protobuf(made.SerializeToString())
    assert ["good"] == [span.name for span in decoded.spans]


def test_thousands_of_attributes_hide_none_that_is_wanted() -> None:
    noise = {f"noise.{number}": "x" for number in range(10_000)}
    span = decode_one(attributes={**noise, "gen_ai.operation.name": "chat"})
    assert "llm" == span.kind


def test_resource_says_service_and_environment() -> None:
    new = decode_one(
        resource={"service.name": "shop", "deployment.environment.name": "prod"}, scope="x"
    )
    old = decode_one(resource={"deployment.environment": "test"})
    assert ("shop", "prod", "x") == (new.service, new.environment, new.scope)
    assert (None, "test") == (old.service, old.environment)


def test_names_are_cleaned_and_cut() -> None:
    span = decode_one("a\nb" + "c" * 1000)
    assert ("a bc", 128) == (span.name[:4], len(span.name))


def test_spans_of_other_programs_are_other() -> None:
    span = decode_one("GET /", {"http.request.method": "GET", "http.response.status_code": 200})
    assert ("other", "GET /", None) == (span.kind, span.name, span.error)
