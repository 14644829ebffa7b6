"""Which limits a run has: its workflow's, and those around it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from agents.lifecycle import RunHooksBase
from agents.tracing import get_current_trace

from tocsin.app.run_guard import FAILURE, SCOPE, GuardRoom, RunGuard, Scope
from tocsin.app.run_limits import GuardHooks, RunLimits, model_name
from tocsin.errors import ConfigError
from tocsin.guard.account import Amount
from tocsin.guard.allowance import Allowance
from tocsin.guard.limits import ANY_WORKFLOW, StopLimits
from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.run import Stop, format_amount
from tocsin.runs.limits import LIMITS, WorkflowSLA
from tocsin.sources.agents_sdk import fields
from tocsin.sources.agents_sdk.events import Emit, Ticket
from tocsin.sources.agents_sdk.limiter import Limits, Unlimited
from tocsin.sources.agents_sdk.resumed import UsedBefore, used_before
from tocsin.sources.limit_exceeded import LimitExceeded

__all__ = ["Stops", "check_stops"]

DEFAULT_WORKFLOW: Final = "Agent workflow"
"""What RunConfig says where nothing was said."""


class Stops:
    """Gives every run that has limits what enforces them, and leaves the others alone."""

    def __init__(self, room: GuardRoom, emit: Emit) -> None:
        self.room = room
        self._emit = emit
        self._stops: dict[str, StopLimits] = {}
        self._slas: dict[str, WorkflowSLA] = {}

    def add(self, stops: Mapping[str, StopLimits]) -> None:
        """Limit runs from now on; raises ConfigError for limits below a service level."""
        stops = {**self._stops, **stops}
        check_stops(stops, self._slas)
        self._stops = stops

    def add_slas(self, slas: Mapping[str, WorkflowSLA]) -> None:
        """Learn of service levels; raises ConfigError for those above a limit."""
        slas = {**self._slas, **slas}
        check_stops(self._stops, slas)
        self._slas = slas

    def enter(
        self, ticket: Ticket, kwargs: dict[str, Any], run_input: object = None
    ) -> AbstractContextManager[Limits]:
        """Begin a call of the runner; raises LimitExceeded and nothing else."""
        if not self._stops and SCOPE.get() == NOWHERE:
            return Unlimited(kwargs)
        try:
            return self._limits(ticket, kwargs, run_input) or Unlimited(kwargs)
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the user's agent
            self.room.failed(error)
            if any(rules.on_failure == "closed" for rules in self._stops.values()):
                raise LimitExceeded(Stop(UNKNOWN, FAILURE, 0.0, 0.0)) from None
            return Unlimited(kwargs)

    def _limits(
        self, ticket: Ticket, kwargs: dict[str, Any], run_input: object
    ) -> RunLimits | None:
        hooks = kwargs.get("hooks")
        if isinstance(hooks, GuardHooks) or not isinstance(hooks, RunHooksBase | None):
            return None  # another watcher's runner was first; or no hooks, as the SDK will say
        scope = SCOPE.get()
        if scope.guard is not None:
            return RunLimits(scope.guard, kwargs, is_nested=True)
        guard = self._guard(ticket, kwargs, scope.allowances, used_before(run_input))
        return None if guard is None else RunLimits(guard, kwargs, is_nested=False)

    def _guard(
        self,
        ticket: Ticket,
        kwargs: dict[str, Any],
        around: tuple[Allowance, ...],
        before: UsedBefore | None,
    ) -> RunGuard | None:
        workflow = workflow_name(kwargs.get("run_config"))
        rules = self._stops.get(workflow) or self._stops.get(ANY_WORKFLOW)
        allowances = around
        if rules is not None and rules.limits:
            own = Allowance(workflow, rules, self.room.clock.monotonic_ns())
            if before is not None:
                own.go_on_from(self._amount(before, kwargs))
            allowances = (own, *around)
        if not allowances:
            return None
        return RunGuard(self.room, workflow, allowances, emit=self._emit, ticket=ticket)

    def _amount(self, before: UsedBefore, kwargs: dict[str, Any]) -> Amount:
        """What a resumed run has used; its cost as if the paused agent's model had done it all."""
        if before.usage is None:
            return Amount(turns=before.turns)
        model = fields.field(kwargs.get("run_config"), "model")
        model = model_name(model or getattr(before.agent, "model", None))
        cost_usd = self.room.tariff.price(model, before.usage)
        return Amount(before.usage.total_tokens, cost_usd, before.turns)


NOWHERE: Final = Scope()


def workflow_name(config: Any) -> str:
    """Name of a run's workflow, as its task span will have it."""
    name = clean_name(fields.field(config, "workflow_name"))
    if name is None or name == DEFAULT_WORKFLOW:
        trace = get_current_trace()
        name = (clean_name(trace.name) if trace is not None else None) or name
    return name or DEFAULT_WORKFLOW


def check_stops(stops: Mapping[str, object], slas: Mapping[str, WorkflowSLA]) -> None:
    """Raise a ConfigError that names everything that is wrong with limits.

    A run that is stopped before it breaks its workflow's service level would hide that it was
    about to.
    """
    problems = []
    for workflow, rules in stops.items():
        if not isinstance(rules, StopLimits):
            problems.append(f"stops[{workflow!r}]: {rules!r} is not a tocsin.StopLimits(…)")
            continue
        sla = slas.get(workflow) or slas.get(ANY_WORKFLOW)
        problems += [
            f"stops[{workflow!r}]: stops at {format_amount(limit, most)}, which is below the"
            f" service level of {format_amount(limit, level)}"
            for limit, most, level in _levels(rules, sla)
            if most < level
        ]
    if problems:
        raise ConfigError("; ".join(problems))


def _levels(rules: StopLimits, sla: WorkflowSLA | None) -> Iterator[tuple[str, float, float]]:
    for limit, most in rules.limits.items():
        level = getattr(sla, LIMITS.get(limit, ""), None)
        if level is not None:
            yield limit, float(most), float(level)
