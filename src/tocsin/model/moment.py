"""Times and durations as people and programs write them: RFC 3339, unix seconds, 5m, 1h30m."""

import datetime as dt
import re
from decimal import Decimal
from typing import Final

from tocsin.errors import QueryError

__all__ = ["NS_PER_S", "parse_duration", "parse_time", "write_time"]

NS_PER_S: Final = 1_000_000_000
MAX_NS: Final = 1 << 62
"""The year 2116."""
UNITS: Final = {
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
    "w": 604_800 * NS_PER_S,
}
NUMBER: Final = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
SECONDS: Final = re.compile(NUMBER)
PART: Final = re.compile(rf"({NUMBER})(ms|[smhdw])")
DURATION: Final = re.compile(rf"(?:{NUMBER}(?:ms|[smhdw]))+")
# A "+" that a query string did not escape arrives as a space.
TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[-+ ][0-9]{2}:[0-9]{2})"
)


def parse_time(text: str) -> int:
    """Read RFC 3339, or unix seconds, into nanoseconds since the epoch. Raises QueryError."""
    advice = f"{text[:60]!r} is not a time; write 2026-06-01T12:00:00Z, or unix seconds"
    if SECONDS.fullmatch(text):
        time_ns = int(Decimal(text) * NS_PER_S)
    elif match := TIME.fullmatch(text):
        day, clock, fraction, zone = match.groups()
        zone = zone.upper().replace("Z", "+00:00").replace(" ", "+")
        try:
            moment = dt.datetime.fromisoformat(f"{day}T{clock}{zone}")
        except ValueError as error:
            raise QueryError(advice) from error
        since = moment - dt.datetime.fromtimestamp(0, dt.UTC)
        time_ns = (since.days * 86_400 + since.seconds) * NS_PER_S
        time_ns += int((fraction or "0").ljust(9, "0"))
    else:
        raise QueryError(advice)
    if not 0 <= time_ns < MAX_NS:
        raise QueryError(f"{text[:60]!r} is not a time between the years 1970 and 2116")
    return time_ns


def parse_duration(text: str) -> int:
    """Read 250ms, 5m, 1h30m, or seconds, into nanoseconds above 0. Raises QueryError."""
    duration_ns = 0
    if SECONDS.fullmatch(text):
        duration_ns = int(Decimal(text) * NS_PER_S)
    elif DURATION.fullmatch(text):
        parts = PART.findall(text)
        duration_ns = sum(int(Decimal(number) * UNITS[unit]) for number, unit in parts)
    if not 0 < duration_ns < MAX_NS:
        raise QueryError(f"{text[:60]!r} is not a duration; write 30s, 5m, 1h30m or 7d")
    return duration_ns


def write_time(time_ns: int) -> str:
    """Write nanoseconds since the epoch as RFC 3339 in UTC, with as many decimals as it takes."""
    seconds, fraction = divmod(time_ns, NS_PER_S)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    decimals = f".{fraction:09}".rstrip("0").rstrip(".")
    return f"{moment}{decimals}Z"
