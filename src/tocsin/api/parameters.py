"""Query strings -> questions to a store. Every problem is told at once, with what to write."""

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, TypeVar

from tocsin.errors import QueryError
from tocsin.model.moment import NS_PER_S, parse_duration, parse_time
from tocsin.model.run import Outcome
from tocsin.store.base import FAILED, GroupBy, RunOrder, RunQuery, Scope, Window
from tocsin.store.event_log import EventKind, EventQuery

__all__ = [
    "MAX_ROWS",
    "MAX_SPANS",
    "MAX_STEPS",
    "Parameters",
    "conversation_limit",
    "event_query",
    "parse_outcomes",
    "run_query",
    "span_limit",
    "trend_question",
]

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=StrEnum)

MAX_ROWS: Final = 500
MAX_SPANS: Final = 5_000
MAX_STEPS: Final = 500
DEFAULT_SINCE_NS: Final = 3600 * NS_PER_S


class Parameters:
    """Reads the parameters of one request, once each; an empty one counts as not given."""

    def __init__(self, given: Iterable[tuple[str, str]]) -> None:
        pairs = [(name, value) for name, value in given if value]
        self._given = dict(pairs)
        self._counts = Counter(name for name, _ in pairs)
        self._known: list[str] = []
        self._problems: list[str] = []

    def text(self, name: str) -> str | None:
        """Read a parameter as it is; None where it is not given."""
        self._known.append(name)
        if self._counts[name] > 1:
            self._problems.append(f"{name} is given {self._counts[name]} times; write one")
        return self._given.get(name)

    def read(self, name: str, parse: Callable[[str], Value]) -> Value | None:
        """Read a parameter by a function that raises QueryError; None where it is not given."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse(text)
        except QueryError as error:
            self._problems.append(f"{name}: {error}")
            return None

    def check(self) -> None:
        """Raise QueryError with everything that is wrong."""
        unknown = [name[:60] for name in self._given if name not in self._known]
        if unknown:
            known = ", ".join(self._known) or "none"
            self._problems.append(f"{', '.join(unknown)}: no such parameter; there are {known}")
        if self._problems:
            raise QueryError("; ".join(self._problems))


def run_query(parameters: Parameters, now_ns: int) -> RunQuery:
    """Read which runs are asked for. Raises QueryError."""
    read, text = parameters.read, parameters.text
    start_ns, end_ns = read("start", parse_time), read("end", parse_time)
    since_ns = read("since", parse_duration)
    min_duration_ns = read("min_duration", parse_duration)
    query = RunQuery(
        order=read("order", one_of(RunOrder)) or RunOrder.NEWEST,
        start_ns=_start(start_ns, since_ns, now_ns),
        end_ns=end_ns,
        workflow=text("workflow"),
        outcomes=read("outcome", parse_outcomes),
        conversation_id=text("conversation_id"),
        service=text("service"),
        environment=text("environment"),
        min_duration_s=None if min_duration_ns is None else min_duration_ns / NS_PER_S,
        min_cost_usd=read("min_cost_usd", _money),
        limit=read("limit", _whole(MAX_ROWS)) or 50,
        cursor=text("cursor"),
    )
    parameters.check()
    return query


def trend_question(parameters: Parameters, now_ns: int) -> tuple[GroupBy, Window, Scope]:
    """Read what is compared: by default the workflows, over the last hour. Raises QueryError."""
    read = parameters.read
    by = read("by", one_of(GroupBy)) or GroupBy.WORKFLOW
    start_ns, end_ns = read("start", parse_time), read("end", parse_time)
    since_ns, step_ns = read("since", parse_duration), read("step", parse_duration)
    scope = Scope(**{name: parameters.text(name) for name in Scope.__struct_fields__})
    parameters.check()
    end_ns = now_ns if end_ns is None else end_ns
    start = _start(start_ns, since_ns, now_ns)
    start = end_ns - DEFAULT_SINCE_NS if start is None else start
    window = Window(start_ns=start, end_ns=end_ns, step_ns=step_ns)
    if step_ns is not None and (end_ns - window.start_ns) // step_ns > MAX_STEPS:
        raise QueryError(f"step: the window has more than {MAX_STEPS} steps; take longer ones")
    return by, window, scope


def event_query(parameters: Parameters, now_ns: int) -> EventQuery:
    """Read which events are asked for. Raises QueryError."""
    read, text = parameters.read, parameters.text
    start_ns, since_ns = read("start", parse_time), read("since", parse_duration)
    query = EventQuery(
        kind=read("kind", one_of(EventKind)),
        name=text("name"),
        workflow=text("workflow"),
        run_id=text("run_id"),
        start_ns=_start(start_ns, since_ns, now_ns),
        limit=read("limit", _whole(MAX_ROWS)) or 100,
    )
    parameters.check()
    return query


def span_limit(parameters: Parameters) -> int:
    """Read how many spans are wanted. Raises QueryError."""
    return _limit(parameters, MAX_SPANS, MAX_SPANS)


def conversation_limit(parameters: Parameters) -> int:
    """Read how many runs are wanted. Raises QueryError."""
    return _limit(parameters, MAX_ROWS, 200)


def parse_outcomes(text: str) -> frozenset[Outcome]:
    """Read outcomes with commas between; `failed` is error, max_turns and stopped."""
    found: set[Outcome] = set()
    for word in text.split(","):
        if word == "failed":
            found |= FAILED
        elif word in frozenset[str](Outcome):
            found.add(Outcome(word))
        else:
            words = ", ".join(Outcome)
            raise QueryError(f"{word[:60]!r} is no outcome; write failed, {words}")
    return frozenset(found)


def one_of(choices: type[Choice]) -> Callable[[str], Choice]:
    """Return a function that reads one word of a closed set."""

    def parse(text: str) -> Choice:
        try:
            return choices(text)
        except ValueError as error:
            words = ", ".join(choices)
            raise QueryError(f"{text[:60]!r} is none of them; write {words}") from error

    return parse


def _start(start_ns: int | None, since_ns: int | None, now_ns: int) -> int | None:
    if start_ns is not None and since_ns is not None:
        raise QueryError("start and since say the same; write one of them")
    return start_ns if since_ns is None else max(0, now_ns - since_ns)


def _limit(parameters: Parameters, most: int, default: int) -> int:
    limit = parameters.read("limit", _whole(most))
    parameters.check()
    return default if limit is None else limit


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdecimal() and len(text) < 10
        if not is_number or not 1 <= int(text) <= most:
            raise QueryError(f"{text[:60]!r} is not a number from 1 to {most}")
        return int(text)

    return parse


def _money(text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 <= usd < 1_000_000 or usd != round(usd, 12):
        raise QueryError(f"{text[:60]!r} is not an amount of dollars; write 0.50")
    return usd
