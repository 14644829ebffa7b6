"""What a tracker knows of a run that is going on, and of where its spans belong."""

from typing import NamedTuple, Self

import msgspec

from tocsin.model.run import Outcome, Run
from tocsin.model.span import Kind, Span
from tocsin.runs.retries import RetryWatch

__all__ = ["LastRun", "Member", "OpenRun", "Placement"]


class OpenRun(msgspec.Struct):
    """A run in progress, and what will be needed to close it."""

    run: Run
    root_id: str
    spans_trace: bool
    """There is no root span of kind RUN: all agents of the trace together are the run."""
    last_event_mono_ns: int
    retries: RetryWatch
    open_spans: dict[str, "Member"]
    signals: set[Outcome]
    last_call_failed: bool = False
    reports_end: bool = False
    reported: Outcome | None = None
    caller_done: bool = False
    root_ended: bool = False
    close_at_mono_ns: int | None = None
    rollup: Span | None = None


class Member(msgspec.Struct, frozen=True):
    """An open span's place: its run, and what it is inside of."""

    opened: OpenRun
    kind: Kind
    nested: bool
    """In a run within the run."""
    in_tool: bool = False
    """A tool started it, and may leave it behind."""
    agent: str | None = None
    """The innermost agent around it, or itself."""


class Placement(msgspec.Struct, frozen=True):
    """Where a finished span belongs. opened is None for a span that came after its run."""

    opened: OpenRun | None
    workflow: str
    nested: bool = False
    run_id: str | None = None
    agent: str | None = None
    tags: dict[str, str] | None = None
    is_guarded: bool = False


class LastRun(NamedTuple):
    """The last run of a trace, as far as late spans need it."""

    workflow: str
    run_id: str | None
    tags: dict[str, str] | None
    is_guarded: bool = False

    @classmethod
    def of(cls, run: Run) -> Self:
        """Keep what is needed of a run."""
        return cls(run.workflow, run.run_id, run.tags, run.is_guarded)
