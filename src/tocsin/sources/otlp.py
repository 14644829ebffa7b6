"""An OTLP trace request -> spans; what cannot be used is counted, and costs nothing else."""

import time
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from tocsin.model.span import Span
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.plan import Readers
from tocsin.sources.dialects.reading import Origin, origin_of
from tocsin.sources.dialects.span import decode_span
from tocsin.sources.otlp_json import parse_json
from tocsin.sources.otlp_wire import Batch, RawSpan, Wire, parse_protobuf

__all__ = ["Decoded", "decode_traces"]

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
NO_TRACE: Final = bytes(TRACE_ID_BYTES)
NO_SPAN: Final = bytes(SPAN_ID_BYTES)
EARLIEST_NS: Final = 946_684_800 * 1_000_000_000
"""2000-01-01: a span from before it was made by a broken clock."""
MAX_AHEAD_NS: Final = 24 * 3600 * 1_000_000_000
"""How far a sender's clock may be ahead of ours."""


class Decoded(msgspec.Struct, frozen=True):
    """Spans of a request, in its order.

    skipped: spans that are left out, by reason: unreadable, trace_id, span_id, no_time, past,
    future. repaired: spans that are in `spans` although something of them was wrong: parent_id
    (dropped), one_time (the other is missing, or the end lies before the start).
    """

    spans: list[Span]
    skipped: Counter[str]
    repaired: Counter[str]


def decode_traces(
    body: bytes, *, is_json: bool, now_ns: int | None = None, keep_content: bool = False
) -> Decoded:
    """Read an ExportTraceServiceRequest in protobuf or OTLP/JSON.

    now_ns: our wall clock, to tell spans of the future. keep_content: read prompts, completions and
    tools' arguments and results too. Raises DecodeError where the body is no such request.
    """
    latest_ns = (time.time_ns() if now_ns is None else now_ns) + MAX_AHEAD_NS
    decoded = Decoded([], Counter(), Counter())
    batches: Iterator[Batch] = (parse_json if is_json else parse_protobuf)(body)
    for batch in batches:
        origin = _origin(batch.wire, batch.scope, batch.service, batch.environment, keep_content)
        for raw in batch.spans:
            if raw is None:
                decoded.skipped["unreadable"] += 1
                continue
            fields = _ids(raw, decoded, latest_ns)
            if fields is not None:
                decoded.spans.append(decode_span(raw, fields, origin))
    return decoded


@lru_cache(maxsize=1024)
def _origin(
    wire: Wire, scope: str, service: str | None, environment: str | None, keep_content: bool
) -> Origin:
    """Senders are few, and send many batches."""
    readers = _readers(wire, VOCABULARY.foreign_to(scope))
    return origin_of(readers, scope, service, environment, keep_content=keep_content)


@lru_cache(maxsize=16)
def _readers(wire: Wire, foreign: frozenset[str]) -> Readers:
    """Ways to read one wire format in scopes of one sort, of which there are few."""
    return Readers(wire, foreign)


def _ids(raw: RawSpan, decoded: Decoded, latest_ns: int) -> dict[str, Any] | None:
    """A span's ids and times, repaired where that is possible; None where it is not."""
    trace_id, span_id, parent_id = raw.trace_id, raw.span_id, raw.parent_span_id
    if len(trace_id) != TRACE_ID_BYTES or trace_id == NO_TRACE:
        decoded.skipped["trace_id"] += 1
        return None
    if len(span_id) != SPAN_ID_BYTES or span_id == NO_SPAN:
        decoded.skipped["span_id"] += 1
        return None
    if parent_id and (len(parent_id) != SPAN_ID_BYTES or parent_id in (span_id, NO_SPAN)):
        if parent_id != NO_SPAN:
            decoded.repaired["parent_id"] += 1
        parent_id = b""
    times = _times(raw, decoded, latest_ns)
    if times is None:
        return None
    return {
        "trace_id": trace_id.hex(),
        "span_id": span_id.hex(),
        "parent_id": parent_id.hex() if parent_id else None,
        "started_ns": times[0],
        "ended_ns": times[1],
    }


def _times(raw: RawSpan, decoded: Decoded, latest_ns: int) -> tuple[int, int] | None:
    """Start and end of a span in nanoseconds, None where it has none or they cannot be."""
    started_ns, ended_ns = raw.start_time_unix_nano, raw.end_time_unix_nano
    if EARLIEST_NS <= started_ns <= ended_ns <= latest_ns:
        return started_ns, ended_ns
    if started_ns <= 0 and ended_ns <= 0:
        decoded.skipped["no_time"] += 1
        return None
    started_ns = started_ns if started_ns > 0 else ended_ns
    ended_ns = max(started_ns, ended_ns)
    if ended_ns > latest_ns or started_ns < EARLIEST_NS:
        decoded.skipped["future" if ended_ns > latest_ns else "past"] += 1
        return None
    decoded.repaired["one_time"] += 1
    return started_ns, ended_ns
