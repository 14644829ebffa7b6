"""Watch the SDK's runner: the exception its caller really gets, which no task span carries.

`set_default_agent_runner` is experimental in the SDK. Everything here is optional: without it a
run's outcome is derived from its spans.
"""

import asyncio
import logging
from contextlib import AbstractContextManager
from contextvars import Token
from time import monotonic_ns
from typing import Any

from agents import run as sdk_run
from agents.exceptions import MaxTurnsExceeded
from agents.run import AgentRunner

from tocsin.model.run import Outcome
from tocsin.sources.agents_sdk.events import RUN_END, Emit, Ticket, ignore
from tocsin.sources.agents_sdk.limiter import Limiter, Limits, Unlimited, run_task
from tocsin.sources.agents_sdk.models import ModelWatch
from tocsin.sources.agents_sdk.processor import CURRENT_TICKET
from tocsin.sources.limit_exceeded import LimitExceeded

__all__ = ["RunnerWatch", "outcome_of"]

logger = logging.getLogger(__name__)

CANCELLATIONS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


def outcome_of(error: BaseException) -> Outcome:
    """Outcome of a run whose caller got this exception."""
    if isinstance(error, CANCELLATIONS):
        return Outcome.CANCELLED
    if isinstance(error, LimitExceeded):
        return Outcome.STOPPED
    if isinstance(error, MaxTurnsExceeded):
        return Outcome.MAX_TURNS
    # Four tripwire classes, for input, output and both sides of a tool; not all in every version.
    if type(error).__name__.endswith("GuardrailTripwireTriggered"):
        return Outcome.GUARDRAIL
    return Outcome.ERROR


class WatchedRunner(AgentRunner):
    """Passes every run on to the runner it replaces, within its limits; reports how it ended."""

    def __init__(
        self, inner: Any, emit: Emit, models: ModelWatch, limiter: Limiter | None = None
    ) -> None:
        self.inner = inner
        self._emit = emit
        self._models = models
        self._limiter = limiter

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:  # noqa: A002
        """Run to the end."""
        ticket, token = self._enter()
        try:
            with self._limits(ticket, kwargs, input) as limits:
                run = self.inner.run(starting_agent, input, **limits.kwargs)
                result = await limits.wait(run)
        except BaseException as error:
            self._end(ticket, outcome_of(error))
            raise
        else:
            self._end(ticket, Outcome.OK)
            return result
        finally:
            _leave(token)

    def run_sync(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:  # noqa: A002
        """Run to the end without an event loop."""
        ticket, token = self._enter()
        try:
            with self._limits(ticket, kwargs, input) as limits:
                run_sync = self._timed(limits).run_sync
                result = run_sync(starting_agent, input, **limits.kwargs)
        except BaseException as error:
            self._end(ticket, outcome_of(error))
            raise
        else:
            self._end(ticket, Outcome.OK)
            return result
        finally:
            _leave(token)

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:  # noqa: A002
        """Start a run whose events are streamed; it ends when its background task does."""
        ticket, token = self._enter()
        try:
            with self._limits(ticket, kwargs, input) as limits:
                result = self.inner.run_streamed(starting_agent, input, **limits.kwargs)
                limits.watch(result)
        except BaseException as error:
            self._end(ticket, outcome_of(error))
            raise
        finally:
            _leave(token)
        task = run_task(result)
        if task is not None:
            task.add_done_callback(lambda done: self._end(ticket, _streamed_outcome(result, done)))
        else:
            self._end(ticket, None)
        return result

    def silence(self) -> None:
        """Go on passing runs on, and neither report nor limit them any more."""
        self._emit = ignore
        self._limiter = None

    def _limits(
        self, ticket: Ticket, kwargs: dict[str, Any], run_input: object
    ) -> AbstractContextManager[Limits]:
        if self._limiter is None:
            return Unlimited(kwargs)
        return self._limiter.enter(ticket, kwargs, run_input)

    def _timed(self, limits: Limits) -> Any:
        """Give `run_sync`, which makes a loop of its own, a deadline where there is one."""
        own_loops = (AgentRunner.run_sync, WatchedRunner.run_sync)
        if limits.has_deadline and getattr(type(self.inner), "run_sync", None) in own_loops:
            return TimedRunner(self.inner, limits)
        return self.inner

    def _enter(self) -> tuple[Ticket, Token[Ticket | None]]:
        self._models.refresh()
        ticket = Ticket()
        return ticket, CURRENT_TICKET.set(ticket)

    def _end(self, ticket: Ticket, outcome: Outcome | None) -> None:
        self._emit((RUN_END, ticket, monotonic_ns(), outcome))


class TimedRunner(AgentRunner):
    """Runs what `run_sync` of the SDK makes a task of until a deadline."""

    def __init__(self, inner: Any, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:  # noqa: A002
        """Run to the end, or to the deadline."""
        return await self._limits.wait(self._inner.run(starting_agent, input, **kwargs))


class RunnerWatch:
    """Puts a WatchedRunner, and watched models, in the SDK's place; `undo` takes them out."""

    def __init__(self, emit: Emit, limiter: Limiter | None = None) -> None:
        self._models = ModelWatch(emit)
        self._models.refresh()
        self._runner = WatchedRunner(
            sdk_run.get_default_agent_runner(), emit, self._models, limiter
        )
        sdk_run.set_default_agent_runner(self._runner)

    def undo(self) -> None:
        """Put the former runner and models back; what somebody replaced or wrapped since stays."""
        self._models.undo()
        self._runner.silence()
        if sdk_run.get_default_agent_runner() is self._runner:
            sdk_run.set_default_agent_runner(self._runner.inner)


def _leave(token: Token[Ticket | None]) -> None:
    try:
        CURRENT_TICKET.reset(token)
    except ValueError:
        # A coroutine closed from another task: its context is gone, and the ticket with it.
        logger.debug("run closed from another context")


def _streamed_outcome(result: Any, task: asyncio.Task[Any]) -> Outcome | None:
    """What a streamed run's consumer sees, as far as its task tells; tripwires may not show."""
    if task.cancelled():
        stopped = isinstance(getattr(result, "_stored_exception", None), LimitExceeded)
        return Outcome.STOPPED if stopped else Outcome.CANCELLED
    # task.exception() would mark the error as seen and silence asyncio's own warning.
    error = getattr(task, "_exception", None)
    if isinstance(error, BaseException):
        return outcome_of(error)
    was_cancelled = getattr(result, "_cancel_mode", "none") != "none"
    if was_cancelled and getattr(result, "final_output", None) is None:
        return Outcome.CANCELLED
    return None
