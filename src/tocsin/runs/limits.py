"""Service levels per workflow, and the moment a run breaks one."""

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tocsin.errors import ConfigError
from tocsin.model.run import Breach, Run
from tocsin.model.span import Kind, Span

__all__ = ["ANY_WORKFLOW", "LIMITS", "SlaWatch", "WorkflowSLA"]

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


def _is_limit(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    try:
        return math.isfinite(value) and float(value) > 0
    except (ValueError, OverflowError):  # a signalling NaN, an integer beyond all floats
        return False


class SlaWatch:
    """Compares runs with their workflow's SLA while they go on.

    Tokens, cost and turns are checked as spans end; latency by `sweep`, so that a run that makes
    no more calls is noticed too. Each limit is raised once per run. Not thread-safe; one worker
    owns it.
    """

    def __init__(self) -> None:
        self._slas: dict[str, WorkflowSLA] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._watched: dict[str, tuple[Run, WorkflowSLA, set[str]]] = {}

    def add(self, slas: Mapping[str, WorkflowSLA]) -> None:
        """Watch more workflows; a later SLA for the same workflow replaces the earlier."""
        self._slas.update(slas)

    def forget(self) -> None:
        """Drop the runs that are watched; the service levels stay."""
        self._deadlines.clear()
        self._watched.clear()

    def sla_of(self, workflow: str) -> WorkflowSLA | None:
        """SLA that runs of a workflow are held to."""
        return self._slas.get(workflow) or self._slas.get(ANY_WORKFLOW)

    def started(self, run: Run) -> None:
        """Watch a run from now on, if its workflow has an SLA."""
        sla = self.sla_of(run.workflow)
        if sla is None:
            return
        self._watched[run.run_id] = (run, sla, set())
        if sla.max_latency_seconds is not None:
            limit_s = min(float(sla.max_latency_seconds), MAX_LATENCY_S)
            heapq.heappush(self._deadlines, (run.started_mono_ns + int(limit_s * 1e9), run.run_id))

    def progressed(self, run: Run, span: Span) -> list[Breach]:
        """Check what a span that ended has added to its run."""
        if run.run_id not in self._watched or span.kind not in (Kind.LLM, Kind.STEP):
            return []
        values: dict[str, float | Decimal | None] = {
            "tokens": run.total_tokens,
            "cost": run.cost_usd,
            "first_token": span.first_token_s,
            "turns": run.turns,
        }
        return list(self._broken(run.run_id, values, in_flight=True))

    def sweep(self, now_mono_ns: int) -> list[Breach]:
        """Check the latency of every run that is still going on."""
        breaches: list[Breach] = []
        while self._deadlines and self._deadlines[0][0] < now_mono_ns:
            _, run_id = heapq.heappop(self._deadlines)
            run = self._watched[run_id][0] if run_id in self._watched else None
            if run is not None and run.ended_ns is None:
                latency_s = (now_mono_ns - run.started_mono_ns) / 1e9
                breaches += self._broken(run_id, {"latency": latency_s}, in_flight=True)
        return breaches

    def ended(self, run: Run) -> list[Breach]:
        """Check a finished run for what no sweep and no span has shown, and forget it."""
        if run.run_id not in self._watched:
            return []
        values: dict[str, float | Decimal | None] = {
            "latency": run.duration_s,
            "tokens": run.total_tokens,
            "cost": run.cost_usd,
            "turns": run.turns,
        }
        breaches = list(self._broken(run.run_id, values, in_flight=False))
        del self._watched[run.run_id]
        if len(self._deadlines) > 2 * len(self._watched) + MAX_IDLE_DEADLINES:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._watched]
            heapq.heapify(self._deadlines)
        return breaches

    def _broken(
        self, run_id: str, values: Mapping[str, float | Decimal | None], *, in_flight: bool
    ) -> Iterator[Breach]:
        run, sla, raised = self._watched[run_id]
        for limit, value in values.items():
            threshold = getattr(sla, LIMITS[limit])
            if threshold is None or value is None or limit in raised:
                continue
            if float(value) <= float(threshold):  # 0.3 USD, as a Decimal, is above 0.3 as a float
                continue
            raised.add(limit)
            yield Breach(
                run_id=run.run_id,
                trace_id=run.trace_id,
                workflow=run.workflow,
                limit=limit,
                value=float(value),
                threshold=float(threshold),
                severity=sla.severity,
                in_flight=in_flight,
            )
