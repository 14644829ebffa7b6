"""What a family of instrumentations is to Tocsin: a table, and rules for what a table can't say."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["Family", "KindRule"]

KindRule: TypeAlias = Callable[[RawSpan], Kind | None]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One family's tables.

    sources: field of a span -> attribute names, the best first. kinds: rank -> rule; over all
    families the lowest rank that knows a span decides (the ranks of the conventions' order).
    milliseconds: fields of `sources` whose attribute counts milliseconds. wanted: attributes that
    rules look at beyond the table. names: span name -> the agent's, tool's or workflow's name.
    silent: scopes that record neither guardrails nor turns, so that some failures leave no error.
    """

    sources: Mapping[str, tuple[str, ...]] = {}
    milliseconds: frozenset[str] = frozenset()
    kinds: Mapping[int, KindRule] = {}
    wanted: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    """(scope prefix, regular expression whose group 1 is the name)."""
    outcomes: tuple[tuple[str, Outcome], ...] = ()
    """(regular expression for an error's type or first line, what it means for the run)."""
    first_token_events: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
