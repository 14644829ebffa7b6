"""A raw span being read: its attributes by field, whatever its dialect calls them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.span import Kind
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.events import NO_EVENTS, look_at
from tocsin.sources.dialects.plan import Readers, Step, kind_by_name
from tocsin.sources.otlp_wire import RawSpan, text

__all__ = ["Origin", "Reading", "origin_of"]

MAX_KEPT: Final = 128
"""Characters of an attribute that is kept."""
MAX_SPAN_NAME: Final = 256
MAX_CONTENTS: Final = 64
MAX_CONTENT: Final = 32_768
"""Characters of one attribute with content."""


class Origin(msgspec.Struct, frozen=True):
    """What all spans of a batch have in common."""

    service: str | None
    environment: str | None
    scope: str
    readers: Readers
    has_private_names: bool
    """Span names hold users' text."""
    keep_content: bool
    counts_reasoning_twice: bool
    """Output has the reasoning added once too often, behind LiteLLM."""


def origin_of(
    readers: Readers,
    scope: str,
    service: str | None,
    environment: str | None,
    *,
    keep_content: bool = False,
) -> Origin:
    """Describe where a batch of spans comes from."""
    return Origin(
        clean_name(service),
        clean_name(environment),
        scope,
        readers,
        scope.startswith(VOCABULARY.private_scopes),
        keep_content,
        scope in VOCABULARY.twice_reasoning_scopes,
    )


class Reading:
    """One span, its plan, and ways to read a field by the names the plan gives for it."""

    __slots__ = ("attributes", "name", "names", "origin", "plan", "raw", "readers", "seen")

    def __init__(self, raw: RawSpan, origin: Origin) -> None:
        self.raw = raw
        self.origin = origin
        self.readers = readers = origin.readers
        self.attributes: Mapping[str, Any] = raw.attributes
        self.plan = readers.find_plan(self.attributes)
        self.names = self.plan.names
        name = UNKNOWN if origin.has_private_names else raw.name
        self.name = text(name)[:MAX_SPAN_NAME]
        events = raw.events
        self.seen = look_at(events, readers) if events else NO_EVENTS

    def kind(self) -> Kind:
        """Kind by the first rule that knows one; OTHER where the span is no agent's."""
        for memo, attribute in self.plan.kinds:
            kind = memo[self.attributes[attribute]]
            if kind is not None:
                return kind
        return kind_by_name[self.origin.scope, self.name]

    def take(self, steps: tuple[Step, ...], fields: dict[str, Any]) -> None:
        """Add the fields that steps find, each by its preferred attribute that has a value."""
        attributes = self.attributes
        for field, memo, names in steps:
            for name in names:
                value = memo[attributes[name]]
                if value is not None:
                    fields[field] = value
                    break

    def label(self, names: tuple[str, ...]) -> str | None:
        """A name of few: cleaned, and remembered."""
        memo = self.readers.name
        for name in names:
            value = memo[self.attributes[name]]
            if value is not None:
                return value
        return None

    def text(self, names: tuple[str, ...]) -> str | None:
        """The first text that has something in it; it may be long."""
        for name in names:
            value = self.readers.read(self.attributes[name])
            if isinstance(value, str) and value:
                return value
        return None

    def identifier(self, names: tuple[str, ...]) -> str | None:
        """An id that does not repeat."""
        for name in names:
            value = self.readers.read_identifier(self.attributes[name])
            if value is not None:
                return value
        return None

    def kept(self) -> dict[str, str]:
        """Evaluations, and attributes that are kept as they are."""
        if not self.plan.kept and not self.seen.evaluations:
            return {}
        kept = dict(self.seen.evaluations)
        for name in self.plan.kept:
            value = self.readers.number[self.attributes[name]]
            if isinstance(value, str | int | float):
                kept[name] = str(value)[:MAX_KEPT]
        return kept

    def content(self) -> dict[str, str]:
        """What people and models said, by attribute; for those who have switched that on."""
        known, starts = self.readers.content, VOCABULARY.content_starts
        names = [name for name in self.attributes if name in known or name.startswith(starts)]
        found: dict[str, str] = {}
        for name in names[:MAX_CONTENTS]:
            value = self.readers.read(self.attributes[name])
            if isinstance(value, tuple | dict):
                value = msgspec.json.encode(value).decode()
            if isinstance(value, str) and value:
                found[name[:MAX_KEPT]] = value[:MAX_CONTENT]
        return found
