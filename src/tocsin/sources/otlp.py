"""An OTLP trace request -> Spans."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from tocsin.model.span import Span
from tocsin.sources.dialects.read import read_span
from tocsin.sources.dialects.tables import WANTED
from tocsin.sources.otlp_wire import RawSpan, decode_json, decode_protobuf

__all__ = ["Decoded", "decode_traces"]

MAX_FUTURE_NS: Final = 24 * 3600 * 1_000_000_000
EARLIEST_NS: Final = 946_684_800 * 1_000_000_000
"""2000-01-01: a span before it has no clock."""


class Decoded(msgspec.Struct):
    """Spans of a request, and why others in it were left out."""

    spans: list[Span]
    skipped: Counter[str]


def decode_traces(body: bytes, *, is_json: bool, now_ns: int | None = None) -> Decoded:
    """Read a request in either encoding.

    A span whose ids or times cannot be right is left out and counted by reason. Raises
    DecodeError for bytes that are no request at all.
    """
    horizon = (time.time_ns() if now_ns is None else now_ns) + MAX_FUTURE_NS
    decoded = Decoded([], Counter())
    raws: Iterator[RawSpan] = (decode_json if is_json else decode_protobuf)(body, WANTED)
    for raw in raws:
        reason = fault(raw, horizon)
        if reason is None:
            decoded.spans.append(read_span(raw))
        else:
            decoded.skipped[reason] += 1
    return decoded


def fault(raw: RawSpan, horizon_ns: int) -> str | None:
    """Why a span cannot be used; None where it can."""
    if len(raw.trace_id) != 32 or not raw.trace_id.strip("0"):
        return "trace id"
    if len(raw.span_id) != 16 or not raw.span_id.strip("0"):
        return "span id"
    if raw.parent_id is not None and len(raw.parent_id) != 16:
        return "parent id"
    if not EARLIEST_NS <= raw.started_ns <= horizon_ns:
        return "start time"
    if raw.ended_ns > horizon_ns:
        return "end time"
    return None
