"""Why a request is not taken, in OTLP/HTTP's terms and in gRPC's."""

from enum import Enum
from typing import NamedTuple

from tocsin.errors import TocsinError

__all__ = ["Reason", "RefusedError"]


class Codes(NamedTuple):
    """What a reason is called on the wire."""

    http: int
    grpc: int
    """A code of google.rpc.Code."""
    retry_after_s: int | None


class Reason(Enum):
    """Kinds of refusal.

    Over HTTP, "later" is always 503: every sender repeats after that, while the older Python
    exporters drop what was answered with 429. The delays are short because a sender that has 10 s
    in all gives up at once when told to wait longer.
    """

    MALFORMED = Codes(400, 3, None)
    UNSUPPORTED = Codes(415, 3, None)
    TOO_LARGE = Codes(413, 8, None)
    TIMEOUT = Codes(408, 4, None)
    BEHIND = Codes(503, 8, 1)
    UNAVAILABLE = Codes(503, 14, 2)


class RefusedError(TocsinError):
    """A request is not taken; the message says why, to the sender."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
