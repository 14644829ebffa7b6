"""A run: one execution of a workflow, folded from its spans."""

from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from tocsin.model.label import UNKNOWN

__all__ = ["BUDGET_LIMIT", "Breach", "Contributor", "Outcome", "Run", "RunIdentity", "Stop"]


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    ERROR = "error"
    MAX_TURNS = "max_turns"
    GUARDRAIL = "guardrail"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Run(msgspec.Struct, kw_only=True):
    """What is known of one execution so far; complete once `outcome` is set.

    Only the tracker that owns a run changes it. `cost_usd` is the sum over priced calls;
    `unpriced_calls` says how many are missing from it, `usage_missing` how many calls
    reported no tokens.
    """

    run_id: str
    trace_id: str
    workflow: str
    started_ns: int
    started_mono_ns: int
    conversation_id: str | None = None
    tags: dict[str, str] | None = None
    """Those that budgets name; None where the run has none of them."""
    is_guarded: bool = False
    """Its calls are reserved before they are made."""
    ended_ns: int | None = None
    outcome: Outcome | None = None
    llm_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    priced_calls: int = 0
    unpriced_calls: int = 0
    usage_missing: int = 0
    turns: int = 0
    tool_calls: int = 0
    handoffs: int = 0

    @property
    def total_tokens(self) -> int:
        """Input plus output tokens of every call that reported them."""
        return self.input_tokens + self.output_tokens

    @property
    def duration_s(self) -> float:
        """Seconds from start to end; 0 while the run is open."""
        return max(0, (self.ended_ns or self.started_ns) - self.started_ns) / 1e9

    @property
    def known_cost_usd(self) -> Decimal | None:
        """Cost of the run, or None when not a single call could be priced."""
        return self.cost_usd if self.priced_calls else None


class Contributor(msgspec.Struct, frozen=True):
    """A part of a run, and how much of a limit it has taken."""

    kind: str
    """model, tool, agent, handoff, guardrail or run; OTHERS, or UNREPORTED."""
    name: str
    agent: str | None
    """In which agent, where that is known."""
    value: float
    """In the unit of the limit: of time only what nothing inside of it has taken."""
    share: float
    """Of all that is known, 0 to 1."""

    @property
    def text(self) -> str:
        """Its name for a person."""
        if self.kind in (OTHERS, UNREPORTED):
            return self.name
        is_named_alone = self.kind == "model" and self.name != UNKNOWN
        name = self.name if is_named_alone else f"{self.kind} {self.name}"
        return name if self.agent is None else f"{name} in agent {self.agent}"


OTHERS: Final = "others"
"""Kind of all small parts together."""
UNREPORTED: Final = "unreported"
"""Kind of time in which nothing was going on of which anyone has told."""


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """A limit passed by a run, raised once per run and limit.

    value and threshold share a unit: seconds, tokens, USD or turns, by `limit`.
    """

    run_id: str | None
    """None in a server, as long as the run's root has not come."""
    trace_id: str
    workflow: str
    limit: str
    value: float
    threshold: float
    severity: str
    in_flight: bool
    """Seen while the run was still going on."""
    action: str = "alert"
    """What was done: alert, or at a hard limit warn, switch (to a cheaper model) or stop."""
    contributors: tuple[Contributor, ...] = ()
    """What has taken how much of it, the largest first; the many small ones together."""

    @property
    def largest(self) -> tuple[Contributor, ...]:
        """The three parts of the run that have taken most."""
        return tuple(part for part in self.contributors if part.kind != OTHERS)[:3]

    def shares(self, kind: str) -> dict[str, float]:
        """Share that each agent, model or tool has in it; kind: "agent", "model" or "tool".

        An agent's share is that of all that it did itself, and of its calls.
        """
        found: dict[str, float] = {}
        for part in self.contributors:
            is_own = part.kind == kind
            name = part.name if is_own else part.agent if kind == "agent" else None
            if name is not None:
                found[name] = found.get(name, 0.0) + part.share
        return found

    @property
    def message(self) -> str:
        """One sentence for a person: what, value against limit, which run."""
        value, threshold = format_amounts(self.limit, self.value, self.threshold)
        run = f"(trace {self.trace_id})" if self.run_id is None else f"(run {self.run_id})"
        match self.action:
            case "stop":
                stopped = stop_sentence(self.workflow, self.limit, value, threshold)
                return f"{stopped}{self._mainly()} {run}"
            case "warn" | "switch":
                then = "; on a cheaper model from here" if self.action == "switch" else ""
                return f"{self.workflow}: {value} so far, will stop at {threshold}{then} {run}"
        going_on = " so far" if self.in_flight else ""
        what = SUBJECTS.get(self.limit, "")
        over = f"over the limit of {threshold}{self._mainly()}"
        return f"{self.workflow}: {what}{value}{going_on}, {over} {run}"

    def _mainly(self) -> str:
        if not self.largest:
            return ""
        return f"; {self.largest[0].share * 100:.0f} % {self.largest[0].text}"


class RunIdentity(Protocol):
    """A run whose ids may become known only after it began."""

    span_id: str | None
    trace_id: str | None


class Stop(msgspec.Struct, frozen=True):
    """Why a run was stopped: what it would have come to, and what it may come to."""

    workflow: str
    limit: str
    value: float
    threshold: float
    run: Any = None
    """A RunIdentity; None where there is no run."""

    @property
    def run_id(self) -> str | None:
        """Id of the run, as soon as it is known."""
        run: RunIdentity | None = self.run
        return None if run is None else run.span_id

    @property
    def trace_id(self) -> str | None:
        """Id of the run's trace, as soon as it is known."""
        run: RunIdentity | None = self.run
        return None if run is None else run.trace_id

    @property
    def message(self) -> str:
        """One sentence for a person."""
        amounts = format_amounts(self.limit, self.value, self.threshold)
        run = "" if self.run_id is None else f" (run {self.run_id})"
        return stop_sentence(self.workflow, self.limit, *amounts) + run


def stop_sentence(workflow: str, limit: str, value: str, threshold: str) -> str:
    """Say that a run was stopped and why; amounts as they are written."""
    if limit == "failure":
        return f"{workflow}: stopped, because Tocsin failed to check its limits"
    if limit.startswith(BUDGET_LIMIT):
        name = limit.removeprefix(BUDGET_LIMIT)
        return f"{workflow}: stopped at {value}, over the {threshold} of budget {name}"
    return f"{workflow}: stopped at {value}, over the limit of {threshold}"


BUDGET_LIMIT: Final = "budget:"
"""How the name of a limit begins that is a budget's: budget:team."""

SUBJECTS: Final = {"first_token": "first token after "}


def format_amounts(limit: str, value: float, threshold: float) -> tuple[str, str]:
    """Write a value and the limit it passed, with as many digits as it takes to tell them apart."""
    for digits in range(1, 7):
        written = format_amount(limit, value, digits), format_amount(limit, threshold, digits)
        if written[0] != written[1]:
            break
    return written


def format_amount(limit: str, value: float, digits: int = 1) -> str:
    """Write a limit's value with its unit, as people read it: 16.2 s, 8,412 tokens, $0.0123.

    digits: after the point, of seconds; money has one more from a dollar on, three more below.
    """
    match "cost" if limit.startswith(BUDGET_LIMIT) else limit:
        case "latency" | "first_token":
            if value < 1:
                return f"{value * 1000:.{digits - 1}f} ms"
            return f"{value:.{digits}f} s"
        case "cost":
            return f"${value:.{digits + 1 if value >= 1 else digits + 3}f}"
        case "same_tool_call":
            return f"{value:,.0f} identical tool calls"
        case _:
            return f"{value:,.0f} {limit}"
