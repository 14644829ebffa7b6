"""Tell why a call failed, from an exception, a status code or the text that is left of it."""

import asyncio
import re
from typing import Final

from tocsin.model.span import ErrorClass

__all__ = ["classify_exception", "classify_name", "classify_status", "classify_text"]

MAX_TEXT: Final = 1000
"""Characters of an error text that are looked at; the reason is at its start."""

CANCELLATIONS: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
STATUS: Final = re.compile(
    r"(?:error code|status(?:[ _]code)?|http(?: error)?)\D{0,3}([45]\d\d)\b", re.I
)
SPECIFIC: Final = (
    (
        ErrorClass.CONTEXT_LENGTH,
        re.compile(r"context_length|context window|maximum context|prompt is too long", re.I),
    ),
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
        re.compile(r"server.?(?:had an )?error|internal error|unavailable", re.I),
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
    (ErrorClass.CONTEXT_LENGTH, re.compile("contextwindow|contextlength|contextoverflow")),
    (ErrorClass.CONTENT_FILTER, re.compile("contentfilter|contentpolicy")),
    (ErrorClass.RATE_LIMIT, re.compile("ratelimit|throttl|toomanyrequests|overloaded")),
    (ErrorClass.TIMEOUT, re.compile("timeout|timedout|deadlineexceeded")),
    (ErrorClass.CONNECTION, re.compile("connect|networkerror|remoteprotocol")),
    (ErrorClass.AUTH, re.compile("authentication|permissiondenied|unauthori[sz]ed")),
    (ErrorClass.SERVER_ERROR, re.compile("servererror|serviceunavailable")),
    (ErrorClass.BAD_REQUEST, re.compile("badrequest|invalidrequest|notfound|unprocessable")),
    (ErrorClass.CANCELLED, re.compile("cancell?ed")),
)
"""By the name of an exception or an error type, lower-case and without underscores."""


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
    return classify_name(names, text) or classify_text(text)


def classify_name(name: str, text: str = "") -> ErrorClass | None:
    """Class of an exception by its type's name, None where that says nothing.

    The name may also be an API's error type (`rate_limit_error`) or an HTTP status. The text tells
    apart the several meanings of a bad request.
    """
    if len(name) == len("400") and name.isdecimal() and int(name) >= 400:
        return classify_status(int(name), text)
    found = _first(EXCEPTION_NAMES, name[:MAX_TEXT].lower().replace("_", ""))
    if found is ErrorClass.BAD_REQUEST:
        return _first(SPECIFIC, text[:MAX_TEXT].partition("\n")[0]) or found
    return found


def _first(table: tuple[tuple[ErrorClass, re.Pattern[str]], ...], text: str) -> ErrorClass | None:
    return next((found for found, pattern in table if pattern.search(text)), None)
