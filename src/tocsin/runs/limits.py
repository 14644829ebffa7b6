"""Service levels per workflow, and the moment a run breaks one."""

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.errors import ConfigError
from tocsin.model.run import Breach, Contributor, Run
from tocsin.model.span import Cost, Span, SpanStart
from tocsin.runs.takers import Taker
from tocsin.runs.tally import LLM, STEP, Tally, rank

__all__ = [
    "ANY_WORKFLOW",
    "LIMITS",
    "SlaWatch",
    "WorkflowSLA",
    "breach_of",
    "broken_of",
    "level_of",
]

ANY_WORKFLOW: Final = "*"
"""Key of the SLA for every workflow that has none of its own."""

LIMITS: Final = {
    "latency": "max_latency_seconds",
    "tokens": "max_tokens_per_request",
    "cost": "max_cost_per_request",
    "first_token": "max_first_token_seconds",
    "turns": "max_turns",
}
"""Limit as it appears in metrics and messages -> field of WorkflowSLA."""

FIRST: Final = "first_token"
"""The limit that holds for each call, and not for what all of them take."""
MAX_LATENCY_S: Final = 1e9
"""A limit above this, 31 years, is the same as none."""
MAX_IDLE_DEADLINES: Final = 1_000
"""Deadlines of ended runs that may be kept, beside as many as there are runs."""
SEVERITIES: Final = ("info", "warning", "error", "critical")


DEFAULT_WINDOW_S: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class WorkflowSLA:
    """What one run of a workflow may take, and how many runs must keep to it; None sets no limit.

    A limit is broken by a value above it. Raises ConfigError for a limit that is not a positive
    number, naming every wrong one.
    """

    max_latency_seconds: float | None = None
    """From the run's start to its end."""
    max_tokens_per_request: int | None = None
    """Input plus output of all its LLM calls."""
    max_cost_per_request: float | Decimal | None = None
    """USD."""
    max_first_token_seconds: float | None = None
    """Of each streamed LLM call."""
    max_turns: int | None = None
    severity: str = "warning"
    """info, warning, error or critical."""
    success: float | None = None
    """Share of runs, such as 0.99, that must succeed, and that must keep each limit above."""
    window_seconds: float = DEFAULT_WINDOW_S
    """Over how long that share is taken."""

    def __post_init__(self) -> None:
        """Check every field at once."""
        problems = [
            f"{name}: {value!r} is not a limit; write a number above 0, or None"
            for name in LIMITS.values()
            if not _is_limit(value := getattr(self, name))
        ]
        if self.severity not in SEVERITIES:
            problems.append(f"severity: {self.severity!r} is not one of {', '.join(SEVERITIES)}")
        if not _is_limit(self.success) or (self.success is not None and self.success >= 1):
            problems.append(
                f"success: {self.success!r} is not a share; write a number above 0 and below 1,"
                " such as 0.99: a share of 1 leaves no room for a single failure"
            )
        if not self.window_seconds or not _is_limit(self.window_seconds):
            problems.append(f"window_seconds: {self.window_seconds!r} is no time; write seconds")
        if problems:
            raise ConfigError("WorkflowSLA: " + "; ".join(problems))

    @property
    def limits(self) -> dict[str, float | Decimal]:
        """Limits that are set, by the name they have in metrics and messages."""
        found = {limit: getattr(self, name) for limit, name in LIMITS.items()}
        return {limit: level for limit, level in found.items() if level is not None}

    @property
    def levels(self) -> dict[str, float]:
        """The same as plain numbers."""
        return {limit: float(level) for limit, level in self.limits.items()}


def _is_limit(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    try:
        return math.isfinite(value) and float(value) > 0
    except (ValueError, OverflowError):  # a signalling NaN, an integer beyond all floats
        return False


NO_LEVEL: Final = WorkflowSLA()


class Watched(msgspec.Struct):
    """A run with an SLA."""

    run: Run
    sla: WorkflowSLA
    levels: dict[str, float]
    """Limits that it has not broken yet."""
    tally: Tally


class SlaWatch:
    """Compares runs with their workflow's SLA while they go on.

    Tokens, cost and turns are checked as spans end; latency by `sweep`, so that a run that makes
    no more calls is noticed too. Each limit is raised once per run. Not thread-safe; one worker
    owns it.
    """

    def __init__(self) -> None:
        self._slas: dict[str, WorkflowSLA] = {}
        self._explained: set[str] = set()
        self._deadlines: list[tuple[int, str]] = []
        self._watched: dict[str, Watched] = {}

    def add(self, slas: Mapping[str, WorkflowSLA]) -> None:
        """Watch more workflows; a later SLA for the same workflow replaces the earlier."""
        self._slas.update(slas)

    def explain_also(self, workflows: Iterable[str]) -> None:
        """Follow runs of these workflows for `explain`, though they have no SLA; "*": of all."""
        self._explained.update(workflows)

    def forget(self) -> None:
        """Drop the runs that are watched; the service levels stay."""
        self._deadlines.clear()
        self._watched.clear()

    def sla_of(self, workflow: str) -> WorkflowSLA | None:
        """SLA that runs of a workflow are held to."""
        return level_of(self._slas, workflow)

    def started(self, run: Run) -> None:
        """Watch a run from now on, if its workflow has an SLA."""
        sla = self.sla_of(run.workflow)
        if sla is None:
            if not self._explained & {run.workflow, ANY_WORKFLOW}:
                return
            sla = NO_LEVEL
        self._watched[run.run_id] = Watched(run, sla, sla.levels, Tally(run.started_ns))
        if sla.max_latency_seconds is not None:
            limit_s = min(float(sla.max_latency_seconds), MAX_LATENCY_S)
            heapq.heappush(self._deadlines, (run.started_mono_ns + int(limit_s * 1e9), run.run_id))

    def began(self, run: Run, start: SpanStart) -> None:
        """Take note of a span that began in a run."""
        watched = self._watched.get(run.run_id)
        if watched is not None:
            tally = watched.tally
            tally.begin(start.span_id, start.parent_id, start.kind, start.name, start.started_ns)

    def progressed(self, run: Run, span: Span, cost: Cost | None = None) -> list[Breach]:
        """Check what a span that ended has added to its run."""
        watched = self._watched.get(run.run_id)
        if watched is None:
            return []
        taker = watched.tally.end(span.span_id, span.kind, span.model, span.ended_ns)
        if span.kind is LLM:
            cost_usd = None if cost is None else float(cost.total)
            watched.tally.add(taker, span.usage, cost_usd)
        elif span.kind is not STEP:
            return []
        values: dict[str, float | Decimal | None] = {
            "tokens": run.total_tokens,
            "cost": run.cost_usd,
            "turns": run.turns,
        }
        broken = list(self._broken(watched, values, span.ended_ns, in_flight=True))
        if span.first_token_s is not None:
            broken += self._slow_start(watched, span, taker)
        return broken

    def explain(self, breach: Breach) -> Breach:
        """Add what the run has taken so far to a breach that was found elsewhere."""
        watched = None if breach.run_id is None else self._watched.get(breach.run_id)
        if watched is None or breach.contributors:
            return breach
        now_ns = watched.run.started_ns + int(breach.value * 1e9)  # of a breach of latency
        found = watched.tally.contributors(breach.limit, breach.value, now_ns)
        return msgspec.structs.replace(breach, contributors=found)

    def sweep(self, now_mono_ns: int) -> list[Breach]:
        """Check the latency of every run that is still going on."""
        breaches: list[Breach] = []
        while self._deadlines and self._deadlines[0][0] < now_mono_ns:
            _, run_id = heapq.heappop(self._deadlines)
            watched = self._watched.get(run_id)
            if watched is None or watched.run.ended_ns is not None:
                continue
            passed_ns = now_mono_ns - watched.run.started_mono_ns
            values = {"latency": passed_ns / 1e9}
            at_ns = watched.run.started_ns + passed_ns
            breaches += self._broken(watched, values, at_ns, in_flight=True)
        return breaches

    def ended(self, run: Run) -> list[Breach]:
        """Check a finished run for what no sweep and no span has shown, and forget it."""
        watched = self._watched.pop(run.run_id, None)
        if watched is None:
            return []
        values: dict[str, float | Decimal | None] = {
            "latency": run.duration_s,
            "tokens": run.total_tokens,
            "cost": run.cost_usd,
            "turns": run.turns,
        }
        at_ns = run.ended_ns or run.started_ns
        breaches = list(self._broken(watched, values, at_ns, in_flight=False))
        if len(self._deadlines) > 2 * len(self._watched) + MAX_IDLE_DEADLINES:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._watched]
            heapq.heapify(self._deadlines)
        return breaches

    def _broken(
        self,
        watched: Watched,
        values: Mapping[str, float | Decimal | None],
        at_ns: int,
        *,
        in_flight: bool,
    ) -> Iterator[Breach]:
        for limit, value in broken_of(watched.levels, values):
            del watched.levels[limit]
            found = watched.tally.contributors(limit, value, at_ns)
            yield breach_of(watched.run, watched.sla, limit, value, found, in_flight=in_flight)

    def _slow_start(self, watched: Watched, span: Span, taker: Taker) -> Iterator[Breach]:
        for limit, value_s in broken_of(watched.levels, {FIRST: span.first_token_s}):
            del watched.levels[limit]
            found = rank([(taker.kind, taker.name, taker.agent, value_s)])
            yield breach_of(watched.run, watched.sla, limit, value_s, found, in_flight=True)


def level_of(slas: Mapping[str, WorkflowSLA], workflow: str) -> WorkflowSLA | None:
    """Return a workflow's own SLA, or that of all others."""
    return slas.get(workflow) or slas.get(ANY_WORKFLOW)


def broken_of(
    levels: Mapping[str, float], values: Mapping[str, float | Decimal | None]
) -> list[tuple[str, float]]:
    """List the limits that are passed, with the values that do; what is not known passes none."""
    return [
        (limit, float(value))
        for limit, value in values.items()
        if value is not None
        and limit in levels
        and float(value) > levels[limit]  # 0.3 USD, as a Decimal, is above 0.3 as a float
    ]


def breach_of(
    run: Run,
    sla: WorkflowSLA,
    limit: str,
    value: float | Decimal,
    contributors: tuple[Contributor, ...],
    *,
    in_flight: bool,
) -> Breach:
    """Write down that a run broke a limit of its service level."""
    return Breach(
        run_id=run.run_id,
        trace_id=run.trace_id,
        workflow=run.workflow,
        limit=limit,
        value=float(value),
        threshold=float(getattr(sla, LIMITS[limit])),
        severity=sla.severity,
        in_flight=in_flight,
        contributors=contributors,
    )
