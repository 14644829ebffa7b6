"""One run, or a part of it, against its service level."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Breach, Contributor
from tocsin.model.span import Cost, Span
from tocsin.runs.flight import PartOfRun
from tocsin.runs.fold import Placed
from tocsin.runs.limits import FIRST, WorkflowSLA, breach_of, broken_of
from tocsin.runs.replay import tally_of
from tocsin.runs.tally import Tally, rank
from tocsin.runs.tree import CALLS

__all__ = ["FoundBreach", "Prices", "cost_usd", "find_breaches", "first_token_s"]

Values = Mapping[str, float | None]
"""Limit -> what was taken; None where it is not known."""
NS_PER_S: Final = 1e9


class Prices(Protocol):
    """What needs to be known about money."""

    def cost(self, span: Span) -> Cost | None:
        """Price a call; None when unknown."""
        ...


class FoundBreach(msgspec.Struct, frozen=True):
    """A breach, and the spans by which its run is recognised once its id is known."""

    breach: Breach
    span_ids: frozenset[str]


def find_breaches(
    part: PartOfRun, sla: WorkflowSLA, values: Values, prices: Prices, *, in_flight: bool
) -> Iterator[FoundBreach]:
    """Find the limits that a run is certainly over, and what has taken most of each."""
    broken = broken_of(sla.levels, values)
    if not broken:
        return
    tally = tally_of(part.spans, lambda span: _price(prices, span))
    span_ids = frozenset(placed.span.span_id for placed in part.spans)
    for limit, value in broken:
        parts = _contributors(part, tally, limit, value)
        breach = breach_of(part.run, sla, limit, value, parts, in_flight=in_flight)
        if not part.is_identified:
            breach = msgspec.structs.replace(breach, run_id=None)
        yield FoundBreach(breach, span_ids)


def cost_usd(spans: Iterable[Placed], prices: Prices) -> float:
    """Add up the calls that have a price."""
    calls = (placed.span for placed in spans if placed.counted and placed.span.kind in CALLS)
    return sum(_price(prices, call) or 0.0 for call in calls)


def first_token_s(spans: Iterable[Placed]) -> float | None:
    """Return the longest wait for a call's first token; None where nothing was streamed."""
    slowest = _slowest(spans)
    return None if slowest is None else slowest.first_token_s


def _contributors(
    part: PartOfRun, tally: Tally, limit: str, value: float
) -> tuple[Contributor, ...]:
    if limit != FIRST:
        return tally.contributors(limit, value, part.run.started_ns + int(value * NS_PER_S))
    slowest = _slowest(part.spans)
    if slowest is None:
        return ()
    return rank([("model", slowest.model or UNKNOWN, slowest.agent, value)])


def _slowest(spans: Iterable[Placed]) -> Span | None:
    calls = [p.span for p in spans if p.counted and p.span.first_token_s is not None]
    return max(calls, key=lambda call: call.first_token_s or 0.0, default=None)


def _price(prices: Prices, span: Span) -> float | None:
    cost = prices.cost(span)
    return None if cost is None else float(cost.total)
