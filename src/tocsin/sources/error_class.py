"""Tell why a call failed, from an exception, a status code or the text that is left of it."""

import asyncio
import re
from typing import Final

from tocsin.model.span import ErrorClass

__all__ = ["classify_exception", "classify_status", "classify_text"]

MAX_TEXT: Final = 1000
"""Characters of an error text that are looked at; the reason is at its start."""

CANCELLATIONS: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
STATUS: Final = re.compile(
    r"(?:error code|status(?: code)?|http(?: error)?)\D{0,3}([1-5]\d\d)\b", re.I
)
SPECIFIC: Final = (
    (ErrorClass.CONTEXT_LENGTH, re.compile(r"context_length|context window|maximum context", re.I)),
    (ErrorClass.CONTENT_FILTER, re.compile(r"content_filter|content_policy|content policy", re.I)),
)
GENERAL: Final = (
    (ErrorClass.RATE_LIMIT, re.compile(r"rate.?limit|quota|too many requests|overloaded", re.I)),
    (ErrorClass.TIMEOUT, re.compile(r"timed? ?out|deadline exceeded", re.I)),
    (ErrorClass.CONNECTION, re.compile(r"connection|connect|disconnect|unreachable|dns", re.I)),
    (
        ErrorClass.AUTH,
        re.compile(r"api.?key|authenticat|unauthori[sz]ed|forbidden|permission", re.I),
    ),
    (
        ErrorClass.SERVER_ERROR,
        re.compile(r"server.?error|server had an error|internal error|unavailable", re.I),
    ),
    (ErrorClass.BAD_REQUEST, re.compile(r"bad request|invalid.?request|not_found", re.I)),
)
STATUS_CLASSES: Final = {
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    408: ErrorClass.TIMEOUT,
    429: ErrorClass.RATE_LIMIT,
    504: ErrorClass.TIMEOUT,
    529: ErrorClass.RATE_LIMIT,
}
EXCEPTION_NAMES: Final = (
    (ErrorClass.RATE_LIMIT, "RateLimit"),
    (ErrorClass.TIMEOUT, "Timeout"),
    (ErrorClass.CONNECTION, "Connect"),
    (ErrorClass.CONNECTION, "NetworkError"),  # httpx: a stream that broke, without any text
    (ErrorClass.CONNECTION, "RemoteProtocol"),
    (ErrorClass.AUTH, "Authentication"),
    (ErrorClass.AUTH, "PermissionDenied"),
    (ErrorClass.SERVER_ERROR, "InternalServer"),
    (ErrorClass.BAD_REQUEST, "BadRequest"),
)


def classify_status(status: int, text: str = "") -> ErrorClass:
    """Class of an HTTP status; the text tells apart the several meanings of 400."""
    if 400 <= status < 500 and (specific := _first(SPECIFIC, text)) is not None:
        return specific
    if status in STATUS_CLASSES:
        return STATUS_CLASSES[status]
    return ErrorClass.SERVER_ERROR if status >= 500 else ErrorClass.BAD_REQUEST


def classify_text(text: str) -> ErrorClass:
    """Class of an error message, by the status code it names, else by its words.

    Only the first line counts (a traceback may follow), and only its first 1,000 characters.
    """
    line = text[:MAX_TEXT].lstrip().partition("\n")[0]
    if (match := STATUS.search(line)) is not None:
        return classify_status(int(match[1]), line)
    return _first(SPECIFIC, line) or _first(GENERAL, line) or ErrorClass.OTHER


def classify_exception(error: BaseException) -> ErrorClass:
    """Class of an exception of any LLM client, by its status code, its type or its text."""
    if isinstance(error, CANCELLATIONS):
        return ErrorClass.CANCELLED
    status = getattr(error, "status_code", None)
    text = str(error)[:MAX_TEXT]
    if isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600:
        return classify_status(status, text)
    names = " ".join(kind.__name__ for kind in type(error).__mro__[:4])
    for found, name in EXCEPTION_NAMES:
        if name in names:
            return found
    return classify_text(text)


def _first(table: tuple[tuple[ErrorClass, re.Pattern[str]], ...], text: str) -> ErrorClass | None:
    return next((found for found, pattern in table if pattern.search(text)), None)
