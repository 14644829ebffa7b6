"""POST OTLP/JSON to one address, over a connection that is kept."""

import email.utils
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from tocsin.app import http_link
from tocsin.app.http_link import HttpLink, Request, Target, parse_headers

__all__ = ["Answer", "OtlpHttp", "Target", "parse_headers", "parse_target"]

MAX_ANSWER: Final = 65_536
"""Bytes of an answer that are read; one is a few dozen."""
PATH: Final = "/v1/traces"
HEADERS: Final = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


class Answer(NamedTuple):
    """What a receiver answered. retry_after_s: as it asked for; rejected: spans it left out."""

    status: int
    retry_after_s: float | None
    rejected: int


def parse_target(url: object) -> Target:
    """Read a collector's address, with or without /v1/traces. Raises ConfigError."""
    target = http_link.parse_target(url, setting="export_to", example="http://HOST:4318")
    path = target.path if target.path.endswith(PATH) else target.path + PATH
    return target._replace(path=path)


class OtlpHttp:
    """Sends bodies one after another. One thread posts; any may `abort_late`."""

    def __init__(self, target: Target, headers: Mapping[str, str]) -> None:
        self._path = target.path
        self._link = HttpLink(target, headers)
        self.abort_late = self._link.abort_late
        self.close = self._link.close
        self.forget = self._link.forget

    def post(self, body: bytes, timeout_s: float = http_link.TIMEOUT_S) -> Answer:
        """Send one gzipped body. Raises OSError or HTTPException where there is no answer."""
        response = self._link.ask(Request("POST", self._path, body, HEADERS), MAX_ANSWER, timeout_s)
        rejected = _rejected(response.content) if 200 <= response.status < 300 else 0
        return Answer(
            response.status, _retry_after_s(response.headers.get("Retry-After")), rejected
        )


class PartialSuccess(msgspec.Struct, rename="camel"):
    """What a receiver left out."""

    rejected_spans: int | str = 0


class ExportResponse(msgspec.Struct, rename="camel"):
    """ExportTraceServiceResponse."""

    partial_success: PartialSuccess | None = None


def _rejected(content: bytes) -> int:
    try:
        partial = msgspec.json.decode(content, type=ExportResponse).partial_success
        return 0 if partial is None else max(0, int(partial.rejected_spans))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0


def _retry_after_s(value: str | None) -> float | None:
    """Seconds to wait; the header holds seconds or a date."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
