"""What one run may use at most, as it was written down and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tocsin.errors import ConfigError
from tocsin.guard.quantities import parse_count, parse_seconds, parse_share, parse_usd
from tocsin.guard.shares import NO_SHARES, Shares, shares_of

__all__ = ["ANY_WORKFLOW", "StopLimits"]

ANY_WORKFLOW: Final = "*"

FORMS: Final[dict[str, tuple[Callable[[object], Any], str]]] = {
    "max_tokens": (parse_count, "a whole number above 0"),
    "max_cost": (parse_usd, 'US dollars above 0, such as "2.00 USD" or 2.0'),
    "max_latency": (parse_seconds, 'a time above 0, such as "120s" or 120'),
    "max_turns": (parse_count, "a whole number above 0"),
    "same_tool_call": (parse_count, "a whole number above 0"),
    "warn_at": (parse_share, "a share of the limits above 0 and below 1, such as 0.8"),
    "switch_at": (parse_share, "a share of the limits above 0 and below 1, such as 0.8"),
}
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
    warn_at: float | None = None
    """Share of any limit at which the alert service hears of it, once per limit."""
    switch_at: float | None = None
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
        shares = {"warn": self.warn_at, "switch": self.switch_at}
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
        if self.warn_at and self.switch_at and self.warn_at > self.switch_at:
            problems.append(f"warn_at: {self.warn_at} is after switch_at {self.switch_at}")
        return problems


def _is_switch(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and name for pair in value.items() for name in pair
    )
