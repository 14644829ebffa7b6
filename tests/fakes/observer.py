"""An observer that remembers what it was told."""

from typing import Any

from tocsin.model.finding import Finding
from tocsin.model.run import Breach, Run
from tocsin.model.span import Kind, Observation


class RecordingObserver:
    """A tocsin.meters.observer.Observer; `failing` makes every call raise instead."""

    sink = "recording"

    def __init__(self, failing: BaseException | None = None) -> None:
        self.failing = failing
        self.told: list[tuple[str, Any]] = []

    def run_started(self, run: Run) -> None:
        self._note("run_started", run.run_id)

    def work_started(self, kind: Kind, name: str, workflow: str) -> None:
        self._note("work_started", (kind, name, workflow))

    def span_ended(self, observation: Observation) -> None:
        self._note("span_ended", observation)

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        self._note("run_ended", (run, conversation_turns))

    def breached(self, breach: Breach) -> None:
        self._note("breached", breach)

    def found(self, finding: Finding) -> None:
        self._note("found", finding)

    def all(self, method: str) -> list[Any]:
        """What a method was told, in order."""
        return [fact for name, fact in self.told if name == method]

    def _note(self, method: str, fact: Any) -> None:
        if self.failing is not None:
            raise self.failing
        self.told.append((method, fact))
