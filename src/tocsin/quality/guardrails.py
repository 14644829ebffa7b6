"""Runs that no guardrail checked, in workflows that have one."""

from collections import OrderedDict
from typing import Final

import msgspec

from tocsin.model.run import Outcome, Run
from tocsin.quality.settings import Quality

__all__ = ["GuardrailHabit"]

MAX_WORKFLOWS: Final = 1_000
USUAL: Final = 0.95
"""Share of a workflow's runs with a check from which on one without is a signal."""
MEMORY: Final = 1_000
"""Runs from which on older ones count half."""
GIVE_UP: Final = 100
"""Runs in a row without a check from which on the workflow is taken to have lost its guardrail on
purpose. The rule AgentGuardrailNotRunning goes on."""


class Habit(msgspec.Struct):
    """How many of a workflow's successful runs had a guardrail check."""

    checked: int = 0
    unchecked: int = 0
    silent: int = 0
    """Unusual runs since the last check, that are not in `unchecked`: what is broken must not
    become usual while it is."""


class GuardrailHabit:
    """Learns which workflows have a guardrail, and notices runs without.

    Only successful runs that called a model count: others may have ended before the check.
    """

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._habits: OrderedDict[str, Habit] = OrderedDict()

    def add(self, run: Run, *, was_checked: bool) -> str | None:
        """Take a finished run; return what is wrong, if it should have had a check."""
        if run.outcome is not Outcome.OK or not run.llm_calls:
            return None
        habit = self._habit(run.workflow)
        if was_checked:
            habit.checked, habit.unchecked = habit.checked + 1, habit.unchecked + habit.silent
            habit.silent = 0
            return None
        if run.workflow in self._settings.guarded:
            return "no guardrail checked this run; it is listed as guarded"
        runs = habit.checked + habit.unchecked
        least = self._settings.guardrail_runs
        if least is None or habit.checked < least or habit.checked < USUAL * runs:
            habit.unchecked += 1
            return None
        habit.silent += 1
        if habit.silent >= GIVE_UP:
            self._habits[run.workflow] = Habit()
        return f"no guardrail checked this run; {habit.checked} of {runs} runs before had a check"

    def _habit(self, workflow: str) -> Habit:
        habit = self._habits.pop(workflow, None) or Habit()
        self._habits[workflow] = habit
        if len(self._habits) > MAX_WORKFLOWS:
            self._habits.popitem(last=False)
        if habit.checked + habit.unchecked > MEMORY:
            habit.checked, habit.unchecked = habit.checked // 2, habit.unchecked // 2
        return habit
