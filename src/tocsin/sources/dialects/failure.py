"""Why a span failed, and what that says about how its run ended."""

import re
from typing import Final, TypeAlias

import msgspec

from tocsin.model.label import clean_name
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.plan import Memo
from tocsin.sources.dialects.reading import Reading
from tocsin.sources.error_class import MAX_TEXT, classify_name, classify_status, classify_text
from tocsin.sources.otlp_wire import RawEvent, text

__all__ = ["Failure", "find_failure"]

ERROR_STATUS: Final = 2
FAILED_WORDS: Final = frozenset({"error", "failure", "failed"})
UNNAMED: Final = frozenset({"_OTHER", "Exception"})
"""Types that say no more than that there was an error."""
TRIPPED: Final = re.compile(r"""['"]guardrail['"]: ?['"](.{1,128}?)['"]""")
ORDER: Final = (Outcome.MAX_TURNS, Outcome.GUARDRAIL, Outcome.CANCELLED)


MAX_REMEMBERED: Final = 512
"""In an outage the same failure comes over and over; its texts are not short."""

Evidence: TypeAlias = tuple[int | None, tuple[str, ...], tuple[str, ...]]
"""HTTP status, names of error types, and first lines of texts, which are never kept."""


class Failure(msgspec.Struct, frozen=True):
    """Why a span failed.

    outcome: how a run ends that fails with this; guardrail: the one that tripped, if one did.
    """

    error: ErrorClass
    outcome: Outcome
    guardrail: str | None


def _judge(evidence: Evidence) -> Failure:
    _, types, texts = evidence
    everything = " ".join((*types, *texts))
    endings = (outcome for outcome in ORDER if VOCABULARY.endings[outcome].search(everything))
    tripped = TRIPPED.search(everything)
    return Failure(
        error=_error_class(evidence),
        outcome=next(endings, Outcome.ERROR),
        guardrail=clean_name(tripped[1]) if tripped else None,
    )


def _error_class(evidence: Evidence) -> ErrorClass:
    """Class by HTTP status, else by the error's type, else by the first line of its text."""
    status, types, texts = evidence
    longest = max(texts, key=len, default="")
    if status is not None:
        return classify_status(status, longest)
    for name in types:
        if (found := classify_name(name, longest)) is not None:
            return found
    classes = (classify_text(line) for line in texts)
    return next((found for found in classes if found is not ErrorClass.OTHER), ErrorClass.OTHER)


failures: Final[Memo[Evidence, Failure]] = Memo(_judge, limit=MAX_REMEMBERED)


def find_failure(reading: Reading) -> Failure | None:
    """Why a span failed, None where it did not."""
    code = reading.raw.status.code
    if code == ERROR_STATUS or (not reading.plan.is_simple and _failed_otherwise(reading, code)):
        return failures[_gather(reading)]
    return None


def _failed_otherwise(reading: Reading, code: int) -> bool:
    """An attribute says that the span failed, although its status does not."""
    names = reading.names
    if names.retry or (names.error_type and code == 0):
        return True
    return (reading.label(names.status) or "").lower() in FAILED_WORDS


def _gather(reading: Reading) -> Evidence:
    names, exception = reading.names, reading.seen.exception
    types = [reading.label(names.error_type)]
    texts: list[str | None] = [text(reading.raw.status.message)]
    if exception is not None:
        types.append(clean_name(_attribute(exception, "exception.type", reading)))
        texts.append(_attribute(exception, "exception.message", reading))
    texts.append(reading.text(names.error_text))
    return (
        _http_status(reading),
        tuple(name for name in types if name and name not in UNNAMED),
        tuple(_first_line(line) for line in texts if line),
    )


def _first_line(value: str) -> str:
    """The part of an error's text that is looked at: a traceback may follow."""
    return value[:MAX_TEXT].lstrip().partition("\n")[0]


def _attribute(event: RawEvent, name: str, reading: Reading) -> str | None:
    attributes = event.attributes
    value = reading.readers.read(attributes[name]) if name in attributes else None
    return value if isinstance(value, str) else None


def _http_status(reading: Reading) -> int | None:
    for name in reading.names.status_code:
        value = reading.readers.number[reading.attributes[name]]
        if isinstance(value, str) and len(value) == len("400") and value.isdecimal():
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None
