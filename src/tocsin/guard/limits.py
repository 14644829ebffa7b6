"""What one run may use at most, as it was written down and checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from tocsin.errors import ConfigError
from tocsin.guard.quantities import parse_count, parse_seconds, parse_share, parse_usd
from tocsin.guard.shares import NO_SHARES, Shares, shares_of

__all__ = ["ANY_WORKFLOW", "FORMS", "StopLimits", "TooLow", "find_too_low"]

ANY_WORKFLOW: Final = "*"

FORMS: Final[dict[str, tuple[Callable[[object], Any], str]]] = {
    "max_tokens": (parse_count, "a whole number above 0"),
    "max_cost": (parse_usd, 'US dollars above 0, such as "2.00 USD" or 2.0'),
    "max_latency": (parse_seconds, 'a time above 0, such as "120s" or 120'),
    "max_turns": (parse_count, "a whole number above 0"),
    "same_tool_call": (parse_count, "a whole number above 0"),
    "warn_at": (parse_share, "a share of the limits above 0 and below 1, such as 0.8 or 80%"),
    "switch_at": (parse_share, "a share of the limits above 0 and below 1, such as 0.8 or 80%"),
}
"""Setting -> how it is read, and in words what may be written."""
FAILURE_MODES: Final = ("open", "closed")


@dataclass(frozen=True, slots=True, kw_only=True)
class StopLimits:
    """Limits at which a run is stopped; None sets none. A value above a limit is one too many.

    Raises ConfigError naming every wrong value at once.
    """

    max_tokens: int | None = None
    """Input plus output of all LLM calls, those of agents used as tools included."""
    max_cost: Decimal | float | str | None = None
    """USD: "2.00 USD", "$2" or 2.0."""
    max_latency: float | str | None = None
    """From the run's start: "120s", "2m" or seconds."""
    max_turns: int | None = None
    """LLM calls of the run itself, not of agents used as tools."""
    same_tool_call: int | None = None
    """How often a run may call one tool with the same arguments."""
    warn_at: float | str | None = None
    """Share of any limit at which the alert service hears of it, once per limit."""
    switch_at: float | str | None = None
    """Share of any limit from which on `switch` replaces models."""
    switch: Mapping[str, str] = field(default_factory=dict)
    """Model -> cheaper model: {"gpt-4.1": "gpt-4.1-mini"}."""
    on_failure: str = "open"
    """If Tocsin itself fails: "open" lets the call through, "closed" stops the run."""
    shares: Shares = field(default=NO_SHARES, init=False, repr=False, compare=False)
    """Where warnings and switches begin, worked out once for all runs."""

    def __post_init__(self) -> None:
        """Check every field at once, and keep what was written as numbers."""
        problems = [*self._parse(), *self._contradictions()]
        if problems:
            raise ConfigError("StopLimits: " + "; ".join(problems))
        shares: dict[str, Any] = {"warn": self.warn_at, "switch": self.switch_at}
        object.__setattr__(self, "shares", shares_of(shares, self.limits))

    @property
    def limits(self) -> dict[str, Any]:
        """Limits that are set, by the name they have in metrics and messages."""
        found = {
            "tokens": self.max_tokens,
            "cost": self.max_cost,
            "latency": self.max_latency,
            "turns": self.max_turns,
            "same_tool_call": self.same_tool_call,
        }
        return {name: limit for name, limit in found.items() if limit is not None}

    @property
    def actions(self) -> list[str]:
        """What may be done about a limit, as metrics name it."""
        found = {"warn": self.warn_at, "switch": self.switch_at}
        return [*(action for action, share in found.items() if share is not None), "stop"]

    def _parse(self) -> list[str]:
        problems = []
        for name, (parse, form) in FORMS.items():
            written = getattr(self, name)
            if written is None:
                continue
            parsed = parse(written)
            if parsed is None:
                problems.append(f"{name}: {written!r} is not a limit; write {form}, or None")
            object.__setattr__(self, name, parsed)
        return problems

    def _contradictions(self) -> list[str]:
        problems = []
        if self.on_failure not in FAILURE_MODES:
            problems.append(f'on_failure: {self.on_failure!r}; write "open" or "closed"')
        if not _is_switch(self.switch):
            problems.append(f"switch: {self.switch!r}; write {{model: cheaper model}}")
        elif (self.switch_at is None) != (not self.switch):
            problems.append("switch and switch_at: write both, or neither")
        warn_at, switch_at = parse_share(self.warn_at), parse_share(self.switch_at)
        if warn_at and switch_at and warn_at > switch_at:
            problems.append(f"warn_at: {warn_at} is after switch_at {switch_at}")
        return problems


def _is_switch(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and name for pair in value.items() for name in pair
    )


class TooLow(NamedTuple):
    """A hard limit that is below the service level of a workflow it holds for."""

    stops_of: str
    """Workflow that the hard limit was written for, "*" included."""
    workflow: str
    limit: str
    most: float
    level: float


def find_too_low(
    stops: Mapping[str, Mapping[str, float]], levels: Mapping[str, Mapping[str, float]]
) -> Iterator[TooLow]:
    """Compare hard limits with service levels; both are workflow -> limit -> number.

    A run that is stopped before it breaks its workflow's service level would hide that it was
    about to. A workflow that lacks one or the other has that of "*".
    """
    for workflow in sorted({*stops, *levels}):
        stops_of = workflow if workflow in stops else ANY_WORKFLOW
        level_of = workflow if workflow in levels else ANY_WORKFLOW
        for limit, most in stops.get(stops_of, {}).items():
            level = levels.get(level_of, {}).get(limit)
            if level is not None and most < level:
                yield TooLow(stops_of, workflow, limit, most, level)
