"""The pieces of a streamed answer."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import json

_TOKEN = re.compile(r"\s*\S+|\s+\Z")
_ARGUMENT_CHARS = 12


class Frame(NamedTuple):
    """One server-sent event; token: it carries a part of the answer, so time passes around it."""

    data: bytes
    token: bool = False


def sse(payload: object, event: str = "") -> bytes:
    """Encode one server-sent event."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + json.encode(payload) + b"\n\n"


def first_tokens(frames: Iterable[Frame], count: int) -> Iterator[Frame]:
    """The frames up to and including so many tokens."""
    for frame in frames:
        if frame.token and count == 0:
            return
        yield frame
        count -= frame.token


def text_pieces(text: str) -> list[str]:
    """Split text as a model streams it; the pieces joined are the text."""
    return _TOKEN.findall(text)


def argument_pieces(arguments: str) -> list[str]:
    """Split a call's arguments as a model streams them."""
    starts = range(0, len(arguments), _ARGUMENT_CHARS)
    return [arguments[start : start + _ARGUMENT_CHARS] for start in starts]
