"""A finding: a run that went wrong in a way that no error shows."""

from enum import StrEnum

import msgspec

__all__ = ["Finding", "Signal"]


class Signal(StrEnum):
    """What is wrong with a run whose calls all succeed."""

    STALE_TOOL_OUTPUT = "stale_tool_output"
    TOOL_LOOP = "tool_loop"
    NO_PROGRESS = "no_progress"
    HANDOFF_PING_PONG = "handoff_ping_pong"
    RETRY_STORM = "retry_storm"
    GUARDRAIL_SILENT = "guardrail_silent"
    EMPTY_ANSWER = "empty_answer"
    TRUNCATED_ANSWER = "truncated_answer"
    FILTERED_ANSWER = "filtered_answer"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A signal in a run, raised once per run and signal."""

    run_id: str
    trace_id: str
    workflow: str
    signal: Signal
    detail: str
    """What was seen, for a person: names and numbers, never content."""
    severity: str
    in_flight: bool
    """Seen while the run was still going on."""

    @property
    def message(self) -> str:
        """One sentence for a person: what, and in which run."""
        return f"{self.workflow}: {self.detail} (run {self.run_id})"
