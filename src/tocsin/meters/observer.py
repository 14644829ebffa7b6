"""What the pipeline tells everyone who counts."""

from typing import Protocol

from tocsin.model.finding import Finding
from tocsin.model.run import Breach, Run
from tocsin.model.span import Kind, Observation

__all__ = ["Observer"]


class Observer(Protocol):
    """Told of everything once, in order, on the worker's thread.

    An observer that raises is logged and counted under its `sink` name; the others still hear.
    """

    sink: str

    def run_started(self, run: Run) -> None:
        """Hear of a run that began."""
        ...

    def work_started(self, kind: Kind, name: str, workflow: str) -> None:
        """Hear of a tool, hand-off or guardrail that began in a run."""
        ...

    def span_ended(self, observation: Observation) -> None:
        """Hear of a finished span."""
        ...

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        """Hear of a finished run, and how many runs its conversation has had."""
        ...

    def breached(self, breach: Breach) -> None:
        """Hear of a run that passed a limit."""
        ...

    def found(self, finding: Finding) -> None:
        """Hear of a quality signal, once per run and signal."""
        ...
