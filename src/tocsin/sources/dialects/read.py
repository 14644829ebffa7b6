"""A raw span and the tables -> a Span."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Span, Usage
from tocsin.sources.dialects import tables
from tocsin.sources.dialects.frameworks import NOT_PROVIDERS
from tocsin.sources.dialects.tables import FIELDS
from tocsin.sources.dialects.tocsin_sdk import kind_of as kind_of_own
from tocsin.sources.dialects.tocsin_sdk import read_own
from tocsin.sources.dialects.usage_json import usage_details
from tocsin.sources.error_class import classify_status, classify_text
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["read_span"]

HANDOFF_TOOL: Final = re.compile(r"^(?:transfer_to_|handoff_to_|handoff to )(.*)$")
NO_FIELDS: Final[tuple[tuple[str, int], ...]] = ()
NOTHING: Final = ("", "null")
"""Logfire writes None as JSON: taken for an id, all such calls would be one."""
MAX_TOKENS: Final = 1 << 40
MAX_LINE: Final = 1000
DETAILS: Final = ("cache_read", "cache_write", "reasoning")
CALLS: Final = frozenset({Kind.LLM, Kind.EMBEDDING})
NAMED_BY: Final = {
    Kind.AGENT: ("agent",),
    Kind.TOOL: ("tool",),
    Kind.HANDOFF: ("to_agent",),
    Kind.GUARDRAIL: ("guardrail",),
    Kind.RUN: ("workflow", "run"),
}


def read_span(raw: RawSpan) -> Span:
    """Read a raw span by whatever dialect it is written in."""
    if (own := kind_of_own(raw)) is not None:
        return read_own(raw, own)
    reader = _Reader(raw)
    kind = tables.kind_of(raw)
    name = reader.name(kind)
    if kind is Kind.TOOL and (target := HANDOFF_TOOL.match(name)) is not None:
        kind = Kind.HANDOFF
    else:
        target = None
    details = reader.call() if kind in CALLS else {}
    if kind is Kind.HANDOFF:
        details = reader.handoff(target[1] if target else None)
    elif kind is Kind.GUARDRAIL:
        details = {"triggered": reader.is_triggered()}
    elif kind is Kind.TOOL:
        details = {"arguments": reader.arguments()}
    elif kind in (Kind.AGENT, Kind.RUN):
        details = {"usage": reader.usage(), "calls": 0}
    return Span(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_id=raw.parent_id,
        kind=kind,
        name=name,
        started_ns=raw.started_ns,
        ended_ns=max(raw.ended_ns, raw.started_ns),
        error=reader.error(kind),
        outcome=reader.outcome(),
        workflow=clean_name(reader.first("workflow")),
        conversation_id=clean_name(reader.first("conversation")),
        agent=clean_name(reader.first("agent")),
        service=clean_name(raw.resource.get("service.name")),
        environment=clean_name(
            raw.resource.get("deployment.environment.name")
            or raw.resource.get("deployment.environment")
        ),
        is_retry=reader.first("retry") is not None,
        scope=raw.scope,
        **details,
    )


class _Reader:
    """Looks fields up in a raw span's attributes, by the merged tables."""

    def __init__(self, raw: RawSpan) -> None:
        self._raw = raw
        self._attributes = raw.attributes
        found: dict[str, tuple[int, Any]] = {}
        for name, value in raw.attributes.items():
            if value is None or value in NOTHING:
                continue
            for field, rank in FIELDS.get(name, NO_FIELDS):
                if field not in found or rank < found[field][0]:
                    found[field] = (rank, value)
        self._found = found

    def first(self, field: str) -> Any:
        """Value of the first source of a field that the span has."""
        known = self._found.get(field)
        return None if known is None else known[1]

    def name(self, kind: Kind) -> str:
        """Name of the workflow, agent, tool or guardrail; else the span's own."""
        for field in NAMED_BY.get(kind, ()):
            if (found := clean_name(self.first(field))) is not None:
                return found
        name = self._raw.name
        for scope, pattern in tables.NAMES:
            if self._raw.scope.startswith(scope) and (match := pattern.match(name)) is not None:
                name = match[1]
                break
        return clean_name(name) or UNKNOWN

    def count(self, field: str) -> int | None:
        """A number of tokens; None where it is not reported."""
        return _tokens(self.first(field))

    def details(self) -> tuple[int, int, int]:
        """Tokens read from a cache, written to one, and of reasoning; 0 where not reported."""
        found = [self.count(field) for field in DETAILS]
        if None in found and isinstance(text := self.first("usage_json"), str):
            repeated = usage_details(text)
            found = [
                _tokens(repeated.get(field)) if count is None else count
                for field, count in zip(DETAILS, found, strict=True)
            ]
        cached, cache_write, reasoning = (count or 0 for count in found)
        return cached, cache_write, reasoning

    def usage(self) -> Usage | None:
        """Tokens; None where none are reported, or only zeros."""
        read, written = self.count("input") or 0, self.count("output") or 0
        if not read and not written:
            return None
        cached, cache_write, reasoning = self.details()
        if cached + cache_write > read:
            read += cached + cache_write  # this source counts input without the cache
        return Usage(read, written, cached, cache_write, min(reasoning, written))

    def call(self) -> dict[str, Any]:
        """What an LLM or embedding call adds."""
        response = clean_name(self.first("response_model"))
        request = clean_name(self.first("request_model"))
        return {
            "model": request or response,
            "response_model": response,
            "provider": self.provider(),
            "endpoint": clean_name(self.first("endpoint")),
            "service_tier": clean_name(self.first("service_tier")),
            "usage": self.usage(),
            "first_token_s": self.first_token_s(),
            "response_id": clean_name(self.first("response_id")),
            "finish_reason": self.finish_reason(),
            "reported_cost_usd": self.cost(),
        }

    def provider(self) -> str | None:
        """Who serves the model, lower-case and without the part that names an API."""
        if "provider" not in self._found:
            return None
        for name in tables.SOURCES["provider"]:
            value = clean_name(self._attributes.get(name))
            if value is not None and value.lower() not in NOT_PROVIDERS:
                return value.lower().split(".")[0] if value.count(".") == 1 else value.lower()
        return None

    def first_token_s(self) -> float | None:
        """Seconds to the first token, from an attribute or an event."""
        for field, scale in (("first_token", 1.0), ("first_token_ms", 1e-3)):
            value = self.first(field)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                return value * scale
        for event in self._raw.events:
            if event.name in tables.FIRST_TOKEN_EVENTS:
                return max(0, event.time_ns - self._raw.started_ns) / 1e9
        return None

    def finish_reason(self) -> str | None:
        """Why the answer ended; some libraries write the list as JSON."""
        value = self.first("finish_reason")
        if isinstance(value, str) and value.startswith("["):
            try:
                value = json.loads(value[:200])
            except ValueError:
                return None
        if isinstance(value, list | tuple):
            value = value[0] if value else None
        return clean_name(value)

    def cost(self) -> Decimal | None:
        """Cost that the source reports."""
        value = self.first("cost")
        try:
            return Decimal(str(value)) if isinstance(value, int | float | str) else None
        except InvalidOperation:
            return None

    def arguments(self) -> int | None:
        """Fingerprint of a tool's arguments."""
        value = self.first("arguments")
        return None if value is None else hash(str(value)[:65_536])

    def is_triggered(self) -> bool:
        """Whether a guardrail says that it tripped."""
        return self.first("triggered") in (True, "true", "True")

    def handoff(self, target: str | None) -> dict[str, Any]:
        """Who hands over to whom."""
        return {
            "from_agent": clean_name(self.first("from_agent") or self.first("agent")) or UNKNOWN,
            "to_agent": clean_name(self.first("to_agent") or target) or UNKNOWN,
        }

    def error_line(self) -> str:
        """First line of the best error text; a traceback may follow it."""
        text = self._raw.status_message or ""
        if not text:
            value = self.first("error_text")
            text = value if isinstance(value, str) else ""
        return text[:MAX_LINE].lstrip().partition("\n")[0]

    def exception(self) -> Mapping[str, Any]:
        """Attributes of the span's last exception event."""
        for event in reversed(self._raw.events):
            if event.name == "exception":
                return event.attributes
        return {}

    def error(self, kind: Kind) -> ErrorClass | None:
        """Class of the span's error; None where it did not fail."""
        error_type = self.first("error_type")
        has_status = self._raw.is_error
        if not has_status and error_type is None:
            return None
        line = self.error_line()
        status = self.first("status")
        if isinstance(status, str) and status.isdigit():
            status = int(status)
        if isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600:
            return classify_status(status, line)
        exception = self.exception()
        texts = (
            line,
            exception.get("exception.message"),
            error_type,
            exception.get("exception.type"),
        )
        for text in texts:
            if isinstance(text, str) and text != "_OTHER":
                found = classify_text(_spaced(text))
                if found is not ErrorClass.OTHER:
                    return found
        return ErrorClass.OTHER

    def outcome(self) -> Outcome | None:
        """What the span says about its run; None where it did not fail."""
        if not self._raw.is_error and self.first("error_type") is None:
            return None
        exception = self.exception()
        seen = [
            self.error_line(),
            str(exception.get("exception.type", "")),
            str(exception.get("exception.message", ""))[:MAX_LINE],
            str(self.first("error_text") or "")[:MAX_LINE],
        ]
        for pattern, outcome in tables.OUTCOMES:
            if any(pattern.search(text) for text in seen):
                return outcome
        return Outcome.ERROR


def _spaced(text: str) -> str:
    """Part the words of CamelCase, so that RateLimitError reads as its message would."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


def _tokens(value: Any) -> int | None:
    """A number of tokens, or None for what cannot be one."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_TOKENS:
        return None
    return value
