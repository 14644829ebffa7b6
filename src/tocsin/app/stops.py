"""Which limits a run has: its workflow's, and those around it."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from agents.lifecycle import RunHooksBase
from agents.tracing import get_current_trace

from tocsin.app.budgets import Budgets
from tocsin.app.run_guard import FAILURE, SCOPE, GuardRoom, RunGuard, Scope
from tocsin.app.run_limits import GuardHooks, RunLimits, model_name
from tocsin.errors import ConfigError
from tocsin.guard.account import Amount
from tocsin.guard.allowance import Allowance
from tocsin.guard.limits import ANY_WORKFLOW, StopLimits, find_too_low
from tocsin.model.label import UNKNOWN, clean_name
from tocsin.model.run import Stop, format_amount
from tocsin.runs.limits import WorkflowSLA
from tocsin.sources.agents_sdk import fields
from tocsin.sources.agents_sdk.events import Emit, Ticket
from tocsin.sources.agents_sdk.limiter import Limits, Unlimited
from tocsin.sources.agents_sdk.resumed import UsedBefore, used_before
from tocsin.sources.limit_exceeded import LimitExceeded

__all__ = ["Stops", "check_stops", "watch_runner_with"]

logger = logging.getLogger(__name__)

DEFAULT_WORKFLOW: Final = "Agent workflow"
"""What RunConfig says where nothing was said."""


class Stops:
    """Gives every run that has limits what enforces them, and leaves the others alone."""

    def __init__(self, room: GuardRoom, emit: Emit, budgets: Budgets) -> None:
        self.room = room
        self._budgets = budgets
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
        if not self._stops and not self._budgets.is_open and SCOPE.get() == NOWHERE:
            return Unlimited(kwargs)
        try:
            return self._limits(ticket, kwargs, run_input)
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the user's agent
            self.room.failed(error)
            if self._budgets.is_closed or any(
                rules.on_failure == "closed" for rules in self._stops.values()
            ):
                raise LimitExceeded(Stop(UNKNOWN, FAILURE, 0.0, 0.0)) from None
            return Unlimited(kwargs)

    def _limits(
        self, ticket: Ticket, kwargs: dict[str, Any], run_input: object
    ) -> AbstractContextManager[Limits]:
        hooks = kwargs.get("hooks")
        if isinstance(hooks, GuardHooks) or not isinstance(hooks, RunHooksBase | None):
            # Another watcher's runner was first; or these are no hooks, as the SDK will say.
            return Unlimited(kwargs)
        scope = SCOPE.get()
        if scope.guard is not None:
            return RunLimits(scope.guard, kwargs, is_nested=True)
        config = kwargs.get("run_config")
        workflow = workflow_name(config)
        rules = self._stops.get(workflow) or self._stops.get(ANY_WORKFLOW)
        allowances, purse = scope.allowances, scope.purse
        if purse is None:
            ticket.tags = run_tags(config, self._budgets.tag_names)
            purse = self._budgets.purse(workflow, ticket.tags)
        if rules is not None and rules.limits:
            own = Allowance(workflow, rules, self.room.clock.monotonic_ns())
            if (before := used_before(run_input)) is not None:
                own.go_on_from(self._amount(before, config))
            allowances = (own, *allowances)
        ticket.is_guarded = purse is not None and not purse.is_empty
        if not allowances and not ticket.is_guarded:
            return Unheld(kwargs, Scope(purse=purse))
        guard = RunGuard(
            self.room, workflow, allowances, purse=purse, emit=self._emit, ticket=ticket
        )
        return RunLimits(guard, kwargs, is_nested=False)

    def _amount(self, before: UsedBefore, config: object) -> Amount:
        """What a resumed run has used; its cost as if the paused agent's model had done it all."""
        if before.usage is None:
            return Amount(turns=before.turns)
        model = fields.field(config, "model")
        model = model_name(model or getattr(before.agent, "model", None))
        cost_usd = self.room.tariff.price(model, before.usage)
        return Amount(before.usage.total_tokens, cost_usd, before.turns)


NOWHERE: Final = Scope()


class Unheld(Unlimited):
    """No limits; but runs inside this one know that it is around them, and counts for them."""

    def __init__(self, kwargs: dict[str, Any], scope: Scope) -> None:
        super().__init__(kwargs)
        self._scope = scope

    def __enter__(self) -> Limits:
        """Begin."""
        self._token = SCOPE.set(self._scope)
        return self

    def __exit__(self, *_: object) -> None:
        """End; a streamed run goes on in a context of its own."""
        with contextlib.suppress(ValueError):  # closed from another context
            SCOPE.reset(self._token)


def workflow_name(config: Any) -> str:
    """Name of a run's workflow, as its task span will have it."""
    name = clean_name(fields.field(config, "workflow_name"))
    if name is None or name == DEFAULT_WORKFLOW:
        trace = get_current_trace()
        name = (clean_name(trace.name) if trace is not None else None) or name
    return name or DEFAULT_WORKFLOW


def run_tags(config: Any, names: frozenset[str]) -> dict[str, str] | None:
    """Tags of a run: of its own configuration, or else of the trace that it is part of."""
    if not names:
        return None
    trace = get_current_trace()
    around = fields.tags(fields.field(trace, "metadata"), fields.field(trace, "group_id"), names)
    own = fields.tags(
        fields.field(config, "trace_metadata"), fields.field(config, "group_id"), names
    )
    return {**(around or {}), **(own or {})} or None


def check_stops(stops: Mapping[str, object], slas: Mapping[str, WorkflowSLA]) -> None:
    """Raise a ConfigError that names everything that is wrong with limits.

    A run that is stopped before it breaks its workflow's service level would hide that it was
    about to.
    """
    problems = [
        f"stops[{workflow!r}]: {rules!r} is not a tocsin.StopLimits(…)"
        for workflow, rules in stops.items()
        if not isinstance(rules, StopLimits)
    ]
    limits = {
        workflow: {limit: float(most) for limit, most in rules.limits.items()}
        for workflow, rules in stops.items()
        if isinstance(rules, StopLimits)
    }
    levels = {workflow: sla.levels for workflow, sla in slas.items()}
    problems += [
        f"stops[{low.stops_of!r}]: stops at {format_amount(low.limit, low.most)}, which is below"
        f" the service level of {format_amount(low.limit, low.level)}"
        + (f" of {low.workflow}" if low.workflow != low.stops_of else "")
        for low in find_too_low(limits, levels)
    ]
    if problems:
        raise ConfigError("; ".join(problems))


def watch_runner_with(emit: Emit, stops: Stops) -> Callable[[], None] | None:
    """Watch the SDK's runner and models; return what ends that.

    None in an SDK of another shape, where runs are told by their spans alone.
    """
    try:
        from tocsin.sources.agents_sdk.runner import RunnerWatch

        return RunnerWatch(emit, stops).undo
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("the SDK's runner is not watched, its spans are: %s", error)
        return None
