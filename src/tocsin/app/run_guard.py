"""One run's limits at the edge: decisions become exceptions, events and counts."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from decimal import Decimal
from time import monotonic_ns
from typing import Any, Final, TypeVar

import msgspec

from tocsin.app.tariff import Tariff
from tocsin.clock import Clock
from tocsin.guard.account import Ledger, Shortage
from tocsin.guard.allowance import Allowance, Notice
from tocsin.guard.cover import Call, Cover
from tocsin.guard.estimate import Forecast, Habits
from tocsin.guard.purse import Purse
from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import Metric
from tocsin.model.run import BUDGET_LIMIT, Breach, Stop
from tocsin.model.span import Usage
from tocsin.sources.agents_sdk.events import LIMIT, Emit, Ticket
from tocsin.sources.limit_exceeded import LimitExceeded

__all__ = ["FAILURE", "SCOPE", "GuardRoom", "RunGuard", "Scope"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
MAX_LOGGED: Final = 10
FAILURE: Final = "failure"


LEDGER: Final = Ledger()
"""One for the process: a `with tocsin.limit(...)` may be around runs of any kind."""


class GuardRoom:
    """What the guards of a watcher share: the lock, prices, past answers, and counts."""

    def __init__(self, tariff: Tariff, clock: Clock) -> None:
        self.tariff = tariff
        self.clock = clock
        self._forget()

    def reset_after_fork(self) -> None:
        """Start with new locks in a forked child, and counts of its own."""
        self._forget()
        LEDGER.reset_after_fork()
        self.tariff.reset_after_fork()

    def _forget(self) -> None:
        self.habits = Habits()
        self.unchecked = Counter(dict.fromkeys(("error", "no_usage", "unpriced"), 0))

    def totals(self) -> dict[tuple[Metric, tuple[str, ...]], float]:
        """Steps that were not fully checked, as metrics."""
        return {(m.STOP_UNCHECKED, (why,)): count for why, count in self.unchecked.items()}

    def failed(self, error: Exception) -> None:
        """Count and log that Tocsin's own code failed."""
        self.unchecked["error"] += 1
        if self.unchecked["error"] <= MAX_LOGGED:
            logger.error("limits could not be checked", exc_info=error)


class RunGuard:
    """Holds one run, with the agents it uses as tools, to its limits.

    Raises LimitExceeded and nothing else: where Tocsin itself fails, steps are let through, or
    refused where one of the limits says `on_failure="closed"`.
    """

    def __init__(
        self,
        room: GuardRoom,
        workflow: str,
        allowances: Sequence[Allowance],
        *,
        purse: Purse | None = None,
        emit: Emit | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        self.workflow = workflow
        self.ticket = ticket
        self.cover = Cover(
            allowances,
            ledger=LEDGER,
            clock=room.clock,
            tariff=room.tariff,
            accounts=None if purse is None else purse.accounts,
        )
        self.purse = purse
        self.room = room
        self._emit = emit
        self.is_closed = (purse is not None and purse.is_closed) or any(
            one.rules.on_failure == "closed" for one in allowances
        )
        self.has_failed = False
        """A step of ours has, so what accounts hold may be wrong: nobody should wait for that."""
        self._is_announced = False

    def safely(self, step: Callable[..., T], *args: Any) -> T | None:
        """Take a step of ours; None where it failed and calls are let through then."""
        try:
            return step(*args)
        except LimitExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the user's agent
            self.has_failed = True
            self.room.failed(error)
            if self.is_closed:
                raise self.stop(Shortage("", FAILURE, 0.0, 0.0)) from None
            return None

    def grant(self, answer: Call | Shortage | None) -> Call | None:
        """Raise where the cover refused a call; tell of what it noticed where it did not.

        None where the call should wait (Ledger.reserve).
        """
        if isinstance(answer, Shortage):
            raise self.stop(answer)
        if answer is not None and answer.notices:
            for notice in answer.notices:
                self._announce(notice)
        return answer

    def after_llm(self, call: Call, forecast: Forecast, usage: Usage | None) -> Decimal | None:
        """Settle a call with its usage; None: it reported none, and counts as estimated.

        Returns its cost, where that counts and is known.
        """
        try:
            return self._settle(call, forecast, usage)
        except Exception:
            self.cover.failed(call)  # or others would wait for it to end
            raise

    def _settle(self, call: Call, forecast: Forecast, usage: Usage | None) -> Decimal | None:
        if usage is None:
            self.room.unchecked["no_usage"] += 1
            self.cover.after_llm(call, forecast, None, None)
            return None
        cost: Decimal | None = None
        if self.cover.counts_cost:
            cost = self.room.tariff.price(call.model, usage)
            self.room.unchecked["unpriced"] += cost is None
        self.cover.after_llm(call, forecast, (usage.input_tokens, usage.output_tokens), cost)
        return cost

    def report(
        self,
        model: str | None,
        agent: str | None,
        cost_usd: Decimal | None,
        *,
        is_guarded: bool = True,
    ) -> None:
        """Tell the budgets of a call that leaves no span; is_guarded: it was reserved."""
        if self.purse is not None:
            work = self.purse.work(model, agent)
            self.purse.teller.report(work, cost_usd, is_guarded=is_guarded)

    def before_tool(self, fingerprint: int | None) -> None:
        """Count a tool call, and say no to one too many."""
        if (shortage := self.cover.before_tool(fingerprint)) is not None:
            raise self.stop(shortage)

    def check(self) -> None:
        """Raise again what something has caught, or what has happened meanwhile."""
        if (shortage := self.cover.check()) is not None:
            raise self.stop(shortage)

    def stop(self, shortage: Shortage) -> LimitExceeded:
        """Return the exception that stops the run; the first time, tell everybody."""
        stop = Stop(self.workflow, shortage.limit, shortage.value, shortage.threshold, self.ticket)
        if not self._is_announced:
            self._is_announced = True
            if self.purse is not None and shortage.limit.startswith(BUDGET_LIMIT):
                self.purse.teller.refused(shortage.account)
            logger.warning("%s", stop.message)
            self._tell("stop", shortage, "critical")
        return LimitExceeded(stop)

    def _announce(self, notice: Notice) -> None:
        self._tell(notice.action, notice, "warning")

    def _tell(self, action: str, what: Shortage | Notice, severity: str) -> None:
        if self._emit is None or self.ticket is None:
            return
        breach = Breach(
            run_id="",
            trace_id="",
            workflow=self.workflow,
            limit=what.limit,
            value=what.value,
            threshold=what.threshold,
            severity=severity,
            in_flight=True,
            action=action,
        )
        self._emit((LIMIT, self.ticket, monotonic_ns(), breach))


class Scope(msgspec.Struct, frozen=True):
    """Where the current task is: inside which limits, and inside which run."""

    allowances: tuple[Allowance, ...] = ()
    """Of every `with tocsin.limit(...)` that is open here, and of the run."""
    guard: RunGuard | None = None
    """Of the outermost run, unless a `with tocsin.limit(...)` was opened inside it."""
    purse: Purse | None = None
    """Of the outermost run, into whose budgets everything inside it counts."""


SCOPE: ContextVar[Scope] = ContextVar("tocsin_scope", default=Scope())  # noqa: B039 - frozen
