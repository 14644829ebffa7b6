"""From when on something in a run counts as wrong."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from tocsin.errors import ConfigError
from tocsin.model.finding import Signal
from tocsin.quality.data_time import DataTime

__all__ = ["OFF", "Quality", "ToolData"]

SEVERITIES: Final = ("info", "warning", "error", "critical")
LEAST: Final = {
    "same_calls": 2,
    "same_pairs": 2,
    "stalled_calls": 2,
    "ping_pong": 2,
    "failures_in_row": 2,
    "same_output": 2,
    "guardrail_runs": 5,
}
"""Threshold -> its least value: below it, every healthy run would be one that went wrong."""
SWITCHES: Final = {
    Signal.STALE_TOOL_OUTPUT: ("same_output", "tools"),
    Signal.TOOL_LOOP: ("same_calls", "same_pairs"),
    Signal.NO_PROGRESS: ("stalled_calls",),
    Signal.HANDOFF_PING_PONG: ("ping_pong",),
    Signal.RETRY_STORM: ("failures_in_row",),
    Signal.GUARDRAIL_SILENT: ("guardrail_runs", "guarded"),
    Signal.EMPTY_ANSWER: ("answers",),
    Signal.TRUNCATED_ANSWER: ("answers",),
    Signal.FILTERED_ANSWER: ("answers",),
}
"""Signal -> the fields of Quality that switch it on, each of them alone."""


@dataclass(frozen=True, kw_only=True)
class ToolData:
    """How fresh one tool's results have to be. Raises ConfigError, naming every problem."""

    max_age_s: float | None = None
    """Seconds that its data may be old when the tool returns it."""
    time_at: str | None = None
    """Where its output names the time of its data: a JSONPath that begins with `$`, or a regular
    expression whose first group is the time."""
    same_output: int | None = None
    """Different arguments that may have the same output in a row. Unlike `Quality.same_output` it
    also holds for short outputs, and for a tool that never answered anything else."""

    def __post_init__(self) -> None:
        """Check every field at once."""
        if problems := list(self._problems()):
            raise ConfigError("ToolData: " + "; ".join(problems))

    @cached_property
    def data_time(self) -> DataTime | None:
        """Reader of the data's time."""
        return None if self.time_at is None else DataTime(self.time_at)

    def _problems(self) -> Iterator[str]:
        if self.max_age_s is not None and not _is_positive(self.max_age_s):
            yield f"max_age_s: {self.max_age_s!r} is not a duration; write seconds above 0"
        if self.max_age_s is not None and self.time_at is None:
            yield "max_age_s: needs time_at, the place of the data's own time in the output"
        yield from _no_place(self.time_at)
        yield from _low("same_output", self.same_output)
        if self.time_at is None and self.same_output is None:
            yield "write max_age_s with time_at, or same_output, or leave the tool out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Thresholds of the quality signals; None switches one off.

    The defaults are meant never to fire on a healthy run. Raises ConfigError for values that are
    no thresholds, naming every wrong one.
    """

    same_calls: int | None = 6
    """Calls of a tool with the same arguments and the same result, among twice as many latest
    calls of one agent."""
    same_pairs: int | None = 3
    """Rounds in which an agent makes the same two calls in turn, with the same results."""
    stalled_calls: int | None = 6
    """Model calls in a row, each with more input than the one before, between which the agent's
    tools only failed or repeated themselves."""
    ping_pong: int | None = 3
    """Hand-offs to and fro between two agents (A to B to A to B: 3) with nothing new learned."""
    failures_in_row: int | None = 5
    """Failures of one tool, or of the model, in a row, each tried after the one before."""
    same_output: int | None = 10
    """Different arguments in a row that get a tool's same output, of 100 characters or more, after
    the tool has answered otherwise before."""
    same_output_window_s: float = 3600.0
    """How far back these calls may lie."""
    guardrail_runs: int | None = 20
    """Runs with a guardrail check from which on a workflow is known to have one: a run without,
    where at least 95 % had one, is a signal."""
    guarded: Collection[str] = ()
    """Workflows in which every successful run must have had a guardrail check."""
    answers: bool = True
    """Watch for answers that are empty, cut off or filtered."""
    tools: Mapping[str, ToolData] = field(default_factory=dict)
    """Tool -> how fresh its results have to be."""
    polling: Collection[str] = ()
    """Tools that may be called again and again with the same arguments and result."""
    severity: str = "warning"
    """Of what is sent to the alert service: info, warning, error or critical."""

    def __post_init__(self) -> None:
        """Check every field at once."""
        if problems := list(self._problems()):
            raise ConfigError("Quality: " + "; ".join(problems))

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Signals that can be raised with these thresholds."""
        return tuple(
            signal for signal, names in SWITCHES.items() if any(getattr(self, n) for n in names)
        )

    @property
    def data_times(self) -> dict[str, DataTime]:
        """Tool -> what reads its data's time from its output."""
        return {tool: data.data_time for tool, data in self.tools.items() if data.data_time}

    def _problems(self) -> Iterator[str]:
        for name in LEAST:
            yield from _low(name, getattr(self, name))
        if not _is_positive(self.same_output_window_s):
            yield f"same_output_window_s: {self.same_output_window_s!r}; write seconds above 0"
        if self.answers not in (True, False):
            yield f"answers: {self.answers!r}; write True or False"
        for name in ("guarded", "polling"):
            if not _are_names(names := getattr(self, name)):
                yield f"{name}: {names!r} is not a list of names"
        yield from _no_tools(self.tools)
        if self.severity not in SEVERITIES:
            yield f"severity: {self.severity!r} is not one of {', '.join(SEVERITIES)}"


def _low(name: str, value: object) -> Iterator[str]:
    least = LEAST[name]
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if value is not None and not is_count:
        yield f"{name}: {value!r} is not a threshold; write a whole number from {least} on, or None"


def _no_place(value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, str):
        yield f"time_at: {value!r} is not a JSONPath or a regular expression"
        return
    try:
        DataTime(value)
    except ConfigError as error:
        yield f"time_at: {error}"


def _no_tools(value: object) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"tools: {value!r} does not map tools to tocsin.ToolData(…)"
        return
    for tool, data in value.items():
        if not isinstance(data, ToolData):
            yield f"tools[{tool!r}]: {data!r} is not a tocsin.ToolData(…)"


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0


def _are_names(values: object) -> bool:
    if isinstance(values, str) or not isinstance(values, Collection):
        return False
    return all(isinstance(value, str) for value in values)


OFF: Final = Quality(answers=False, **dict.fromkeys(LEAST))  # type: ignore[arg-type]
"""Watches for nothing."""
