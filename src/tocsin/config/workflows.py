"""`workflows:` in the file: service levels and hard limits, by workflow."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from tocsin.config.document import Path
from tocsin.config.section import Section, read_by
from tocsin.guard.limits import FORMS, StopLimits, find_too_low
from tocsin.guard.quantities import parse_count, parse_seconds, parse_share, parse_usd
from tocsin.model.run import format_amount
from tocsin.runs.limits import DEFAULT_WINDOW_S, WorkflowSLA

__all__ = ["DEFAULT_DAYS", "Sla", "Stop", "Workflow", "contradictions", "kept_at_most"]

SECONDS_PER_DAY: Final = 86_400
DEFAULT_DAYS: Final = 30
"""How long runs are kept, where nothing is said."""
Seconds = Annotated[float, read_by(parse_seconds, "a time above 0, such as 15s or 2m")]
Count = Annotated[int, read_by(parse_count, "a whole number above 0")]
Usd = Annotated[Decimal, read_by(parse_usd, "US dollars above 0, such as 0.50 USD")]
Share = Annotated[float, read_by(parse_share, "a share above 0 % and below 100 %, such as 99%")]


class Sla(Section):
    """Service levels of a workflow: what is reported, and nothing is stopped."""

    latency: Seconds | None = None
    tokens: Count | None = None
    cost: Usd | None = None
    first_token: Seconds | None = None
    turns: Count | None = None
    success: Share | None = None
    window: Annotated[float, read_by(parse_seconds, "a time above 0, such as 30d")] = (
        DEFAULT_WINDOW_S
    )
    severity: Literal["info", "warning", "error", "critical"] = "warning"

    @property
    def sla(self) -> WorkflowSLA:
        """The same, as the rest of the program takes it."""
        return WorkflowSLA(
            max_latency_seconds=self.latency,
            max_tokens_per_request=self.tokens,
            max_cost_per_request=self.cost,
            max_first_token_seconds=self.first_token,
            max_turns=self.turns,
            severity=self.severity,
            success=self.success,
            window_seconds=self.window,
        )


class Stop(Section):
    """Hard limits of a workflow's runs, at which they end."""

    tokens: Count | None = None
    cost: Usd | None = None
    latency: Seconds | None = None
    turns: Count | None = None
    same_tool_call: Count | None = None
    warn_at: Annotated[float, read_by(*FORMS["warn_at"])] | None = None
    switch_at: Annotated[float, read_by(*FORMS["switch_at"])] | None = None
    switch: dict[str, str] = Field(default_factory=dict)
    on_failure: Literal["open", "closed"] = "open"

    @property
    def limits(self) -> StopLimits:
        """The same, as the rest of the program takes it."""
        return StopLimits(
            max_tokens=self.tokens,
            max_cost=self.cost,
            max_latency=self.latency,
            max_turns=self.turns,
            same_tool_call=self.same_tool_call,
            warn_at=self.warn_at,
            switch_at=self.switch_at,
            switch=self.switch,
            on_failure=self.on_failure,
        )


class Workflow(Section):
    """One workflow, or "*" for all that have no entry."""

    sla: Sla | None = None
    stop: Stop | None = None


READERS: Final = {
    "latency": parse_seconds,
    "tokens": parse_count,
    "cost": parse_usd,
    "first_token": parse_seconds,
    "turns": parse_count,
}


def contradictions(content: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Find values that are fine alone and impossible together, with where they stand.

    content: the whole file as it was read; what is wrong by itself is told elsewhere, and passed
    over here.
    """
    workflows = _mapping(content, "workflows") or {}
    slas = {name: _mapping(body, "sla") for name, body in workflows.items()}
    stops = {name: _mapping(body, "stop") for name, body in workflows.items()}
    for name, stop in stops.items():
        for key, message in _switching(stop or {}):
            yield ("workflows", name, "stop", key), message
    yield from _too_low(slas, stops)
    yield from _too_long(slas, _kept_days(content))


def kept_at_most(sla: WorkflowSLA, days: int) -> WorkflowSLA:
    """Shorten a level's window to as long as runs are kept."""
    return replace(sla, window_seconds=min(sla.window_seconds, days * SECONDS_PER_DAY))


Sections = Mapping[str, Mapping[str, Any] | None]
"""Workflow -> what is written in one of its sections; None where it has none."""


def _too_low(slas: Sections, stops: Sections) -> Iterator[tuple[Path, str]]:
    for low in find_too_low(_limits(stops), _limits(slas)):
        whose = "" if low.workflow == low.stops_of else f" of {low.workflow}"
        yield (
            ("workflows", low.stops_of, "stop", low.limit),
            f"{format_amount(low.limit, low.most)} is below the service level{whose} of"
            f" {format_amount(low.limit, low.level)}; write that or more",
        )


def _too_long(slas: Sections, days: int) -> Iterator[tuple[Path, str]]:
    for name, sla in slas.items():
        window_s = parse_seconds((sla or {}).get("window"))
        if window_s is not None and window_s > days * SECONDS_PER_DAY:
            yield (
                ("workflows", name, "sla", "window"),
                f"{sla and sla['window']} is longer than runs are kept; write {days}d or less, or"
                " a longer time for retention.spans",
            )


def _switching(stop: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    warn_at, switch_at = parse_share(stop.get("warn_at")), parse_share(stop.get("switch_at"))
    if stop.get("switch") and "switch_at" not in stop:
        yield "switch", "never happens; write switch_at too, such as switch_at: 90%"
    if "switch_at" in stop and not stop.get("switch"):
        yield "switch_at", "nothing to switch to; write switch too: {MODEL: CHEAPER MODEL}"
    if warn_at and switch_at and warn_at > switch_at:
        yield "warn_at", f"{warn_at:.0%} comes after switch_at; write {switch_at:.0%} or less"


def _limits(sections: Sections) -> dict[str, dict[str, float]]:
    """Read the limits of those workflows that have the section at all."""
    found: dict[str, dict[str, float]] = {}
    for name, section in sections.items():
        if section is not None:
            read = {limit: parse(section.get(limit)) for limit, parse in READERS.items()}
            found[name] = {limit: float(n) for limit, n in read.items() if n is not None}
    return found


def _kept_days(content: Mapping[str, Any]) -> int:
    kept_s = parse_seconds((_mapping(content, "retention") or {}).get("spans"))
    return DEFAULT_DAYS if kept_s is None else int(kept_s // SECONDS_PER_DAY)


def _mapping(body: object, key: str) -> Mapping[str, Any] | None:
    section = body.get(key) if isinstance(body, dict) else None
    return section if isinstance(section, dict) else None
