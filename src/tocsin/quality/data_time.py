"""How old a tool's data is, by the time that its own output names."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, Final

import msgspec

from tocsin.errors import ConfigError

__all__ = ["DataTime"]

MAX_DOCUMENT: Final = 1_000_000
"""Characters of a JSON output from which on it is not read."""
MAX_SEARCHED: Final = 65_536
"""Characters of an output that a regular expression searches."""
MAX_MATCHES: Final = 1_000
MAX_NS: Final = 1 << 63
STEP: Final = re.compile(
    r"""\.(?P<name>[\w-]+) | \[(?P<index>-?\d+)\] | \[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]
    | (?P<all>\[\*\]|\.\*)""",
    re.VERBOSE,
)
UNITS: Final = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000), (float("inf"), 1))
"""Numbers below the bound count in units of so many nanoseconds: s, ms, µs, ns."""

Step = str | int | None
"""A key, a position, or None for everything inside."""


class DataTime:
    """Finds the newest time that an output names at a place.

    place: a JSONPath of names, positions and wildcards (`$.quotes[*].as_of`), or a regular
    expression whose first group, if it has one, is the time. Raises ConfigError for neither.
    A time is ISO 8601, an e-mail date, or a number since 1970 whose size tells its unit; without a
    time zone it is UTC.
    """

    def __init__(self, place: str) -> None:
        self._steps = _steps(place) if place.startswith("$") else None
        try:
            self._pattern = re.compile("" if self._steps is not None else place)
        except re.error as error:
            raise ConfigError(f"{place!r} is not a regular expression: {error}") from error

    def __call__(self, output: str) -> int | None:
        """Nanoseconds since the epoch, or None where there is no time at the place."""
        found = self._searched(output) if self._steps is None else self._addressed(output)
        times = (parse_time_ns(value) for value in islice(found, MAX_MATCHES))
        return max((time_ns for time_ns in times if time_ns is not None), default=None)

    def _searched(self, output: str) -> Iterator[object]:
        for match in self._pattern.finditer(output[:MAX_SEARCHED]):
            yield match[1] if self._pattern.groups else match[0]

    def _addressed(self, output: str) -> Iterator[object]:
        if len(output) > MAX_DOCUMENT:
            return iter(())
        try:
            document = msgspec.json.decode(output)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return iter(())
        return _select(document, self._steps or [])


def _steps(path: str) -> list[Step]:
    steps: list[Step] = []
    position = 1
    while position < len(path):
        match = STEP.match(path, position)
        if match is None:
            raise ConfigError(
                f"{path!r} is not a JSONPath from {path[position:]!r} on; "
                "write names, positions and wildcards, such as $.quotes[*].as_of"
            )
        position = match.end()
        name = match["name"] if match["name"] is not None else match["key"]
        steps.append(int(match["index"]) if match["index"] else None if match["all"] else name)
    return steps


def _select(value: Any, steps: list[Step]) -> Iterator[object]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    inside: list[Any] = []
    if step is None and isinstance(value, list | dict):
        inside = list(value.values()) if isinstance(value, dict) else value
    elif isinstance(step, int) and isinstance(value, list):
        inside = value[step:][:1] if -len(value) <= step < len(value) else []
    elif isinstance(step, str) and isinstance(value, dict) and step in value:
        inside = [value[step]]
    for one in inside:
        yield from _select(one, rest)


def parse_time_ns(value: object) -> int | None:
    """A time in any of the usual notations as nanoseconds since the epoch, or None."""
    if isinstance(value, str):
        value = value.strip()
        try:
            value = float(value)
        except ValueError:
            return _moment_ns(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    unit = next(unit for bound, unit in UNITS if value <= bound)
    return int(value * unit) if value * unit < MAX_NS else None


def _moment_ns(text: str) -> int | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found = int(aware.timestamp() * 1_000_000) * 1_000
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        return found if 0 < found < MAX_NS else None
    return None
