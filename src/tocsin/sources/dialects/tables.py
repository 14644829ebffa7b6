"""All families' tables as one."""

import re
from typing import Final

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects import (
    frameworks,
    logfire,
    openinference,
    semconv,
    tocsin_sdk,
    traceloop,
    vercel,
)
from tocsin.sources.dialects.family import Family, KindRule
from tocsin.sources.otlp_wire import RawSpan

__all__ = [
    "FIELDS",
    "FIRST_TOKEN_EVENTS",
    "NAMES",
    "OUTCOMES",
    "SILENT",
    "SOURCES",
    "WANTED",
    "kind_of",
]

FAMILIES: Final[tuple[Family, ...]] = (
    tocsin_sdk.FAMILY,
    semconv.FAMILY,
    traceloop.FAMILY,
    openinference.FAMILY,
    vercel.FAMILY,
    *frameworks.FAMILIES,
    logfire.FAMILY,
)
"""In the order in which their sources of a field are tried."""

RESOURCE: Final = ("service.name", "deployment.environment.name", "deployment.environment")
EVENT: Final = ("exception.type", "exception.message")


def _merge_sources() -> dict[str, tuple[str, ...]]:
    merged: dict[str, dict[str, None]] = {}
    for family in FAMILIES:
        for field, names in family.sources.items():
            merged.setdefault(field, {}).update(dict.fromkeys(names))
    return {field: tuple(names) for field, names in merged.items()}


SOURCES: Final = _merge_sources()


def _invert() -> dict[str, tuple[tuple[str, int], ...]]:
    fields: dict[str, list[tuple[str, int]]] = {}
    for field, names in SOURCES.items():
        for rank, name in enumerate(names):
            fields.setdefault(name, []).append((field, rank))
    return {name: tuple(found) for name, found in fields.items()}


FIELDS: Final = _invert()
"""Attribute name -> the fields it is a source of, each with its rank there."""
WANTED: Final = frozenset(
    [
        *(name for names in SOURCES.values() for name in names),
        *(name for family in FAMILIES for name in family.wanted),
        *RESOURCE,
        *EVENT,
    ]
)
KIND_RULES: Final[tuple[KindRule, ...]] = tuple(
    rule
    for _, rule in sorted(
        ((rank, rule) for family in FAMILIES for rank, rule in family.kinds.items()),
        key=lambda ranked: ranked[0],
    )
)
NAMES: Final = tuple(
    (scope, re.compile(pattern)) for family in FAMILIES for scope, pattern in family.names
)
OUTCOMES: Final[tuple[tuple[re.Pattern[str], Outcome], ...]] = tuple(
    (re.compile(pattern, re.I), outcome)
    for family in FAMILIES
    for pattern, outcome in family.outcomes
)
FIRST_TOKEN_EVENTS: Final = frozenset(
    name for family in FAMILIES for name in family.first_token_events
)
SILENT: Final = tuple(scope for family in FAMILIES for scope in family.silent)


def kind_of(span: RawSpan) -> Kind:
    """Kind of a span: the first rule that knows it decides."""
    for rule in KIND_RULES:
        kind = rule(span)
        if kind is not None:
            return kind
    return Kind.OTHER
