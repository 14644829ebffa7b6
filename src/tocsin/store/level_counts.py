"""How many runs kept to a service level: the question, and what a store answers."""

from collections.abc import Mapping
from typing import Final

import msgspec

from tocsin.model.run import Outcome

__all__ = ["FAILED", "SUCCESS", "UNDECIDED", "LevelCount", "LevelQuery"]

SUCCESS: Final = "success"
"""Name of the limit that is kept by every run that does not fail."""
FAILED: Final = frozenset({Outcome.ERROR, Outcome.MAX_TURNS, Outcome.STOPPED})
"""Outcomes that count as failures; a tripped guardrail and a cancelled run do not."""
UNDECIDED: Final = frozenset({Outcome.CANCELLED, Outcome.UNKNOWN})
"""Outcomes that are neither success nor failure: the caller gave up, or nobody knows."""


class LevelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs, and what each of them should have kept to.

    workflow: only these; None: all but those in `others`. limits: latency and first_token in
    seconds, tokens, cost in USD, turns. Runs count from when they ended: since each of starts_ns,
    and before end_ns.
    """

    workflow: str | None = None
    others: frozenset[str] = frozenset()
    limits: Mapping[str, float]
    starts_ns: tuple[int, ...]
    end_ns: int


class LevelCount(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one workflow that ended since a start, by whether they kept to one limit."""

    workflow: str
    limit: str
    """One of the query's, or SUCCESS."""
    start_ns: int
    within: int
    beyond: int
    unknown: int
    """Nobody can say: calls reported no tokens, or have no price, or nothing was streamed."""
