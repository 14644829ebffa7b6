"""What a body must be before it is accepted: an OTLP request, down to its list of spans.

What is inside of spans is read later; one that is broken is counted and costs no other. Requests
of metrics and logs have the same form at these levels.
"""

from typing import Final

import msgspec

from tocsin.errors import DecodeError
from tocsin.model.telemetry import Format
from tocsin.sources.otlp_json import parse_json
from tocsin.sources.otlp_wire import parse_protobuf

__all__ = ["check"]

LENGTH: Final = 2
MAX_ENTRIES: Final = 100_000
"""Fields at the top level; senders have one per resource."""


class Request(msgspec.Struct):
    """What is common to the three export requests."""

    resourceSpans: list[msgspec.Raw] = []  # noqa: N815 - OTLP's name
    resourceMetrics: list[msgspec.Raw] = []  # noqa: N815
    resourceLogs: list[msgspec.Raw] = []  # noqa: N815


_json = msgspec.json.Decoder(Request)


def check(body: bytes, content_type: str) -> None:
    """Raise DecodeError unless the body is a request whose spans can be listed."""
    if content_type == Format.JSON.content_type:
        try:
            body.decode()  # msgspec looks only into what it keeps
            _json.decode(body)
            batches = parse_json(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise DecodeError(f"the body is no OTLP in JSON: {error}") from error
    else:
        _walk(body)
        batches = parse_protobuf(body)
    for _ in batches:
        pass  # what makes a batch has been read by now


def _walk(body: bytes) -> None:
    at, end, entries = 0, len(body), 0
    while at < end:
        start, entries = at, entries + 1
        tag, at = _varint(body, at)
        match tag & 7:
            case 0:
                _, at = _varint(body, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(body, at)
                at += length
            case 5:
                at += 4
            case _:
                raise DecodeError(f"the body is no OTLP: bad wire type at byte {start}")
        if tag >> 3 == 0 or (tag >> 3 == 1 and tag & 7 != LENGTH):
            raise DecodeError(f"the body is no OTLP: bad field at byte {start}")
        if entries > MAX_ENTRIES:
            raise DecodeError(f"the body has more than {MAX_ENTRIES} resources")
        if at > end:
            raise DecodeError(f"the body is no OTLP: the field at byte {start} is cut off")


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            break
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise DecodeError(f"the body is no OTLP: bad number before byte {at}")
