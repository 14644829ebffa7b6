"""`tocsin.Guard`: hard limits for code that does not use the Agents SDK."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tocsin.app.budgets import open_budgets
from tocsin.app.run_guard import SCOPE, GuardRoom, RunGuard
from tocsin.app.tariff import Tariff
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import ConfigError
from tocsin.guard.allowance import Allowance
from tocsin.guard.cover import Call
from tocsin.guard.estimate import Forecast
from tocsin.guard.limits import StopLimits
from tocsin.model.span import Usage
from tocsin.pricing.catalogue import PriceBook
from tocsin.sources.agents_sdk import fields

__all__ = ["Guard", "GuardCall"]

PAUSES_S: Final = (0.01, 0.02, 0.05, *[0.1] * 49)
"""How long to wait for a part in a shared budget, bit by bit."""
ROOM = GuardRoom(Tariff(PriceBook()), SYSTEM_CLOCK)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ROOM.reset_after_fork)


@dataclass(frozen=True, slots=True)
class GuardCall:
    """An LLM call that may be made."""

    model: str | None
    """The model to call: the one asked for, or what the limits' `switch` puts in its place."""
    reserved: Call | None = None
    """None where nothing could be reserved, and calls are let through then."""


class Guard:
    """Holds one run of any program to limits: ask before each step, tell what each call used.

    A run begins when its Guard is made, and is held to every `with tocsin.limit(...)` around that
    too. Thread-safe. Methods raise LimitExceeded where the step must not be taken, and nothing
    else. prices: USD per million tokens, as for `tocsin.install`.

    Its calls count into the budgets of `tocsin.install` too: those that cover its workflow, agent
    and tags (`{"customer": "acme"}`), and each call's model.
    """

    def __init__(
        self,
        limits: StopLimits,
        *,
        workflow: str = "guard",
        agent: str | None = None,
        tags: Mapping[str, str] | None = None,
        prices: Mapping[str, Mapping[str, object]] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not isinstance(limits, StopLimits):
            raise ConfigError(f"Guard: {limits!r} is not a tocsin.StopLimits(…)")
        room = ROOM
        if prices is not None or clock is not SYSTEM_CLOCK:
            room = GuardRoom(Tariff(PriceBook(prices)), clock)
        self.used = Allowance(workflow, limits, clock.monotonic_ns())
        """What the run has used so far: `.tokens`, `.cost_usd`, `.turns`."""
        scope, budgets = SCOPE.get(), open_budgets()
        purse = scope.purse
        if purse is None and budgets is not None:
            purse = budgets.purse(workflow, tags)
        self._agent = agent
        self._guard = RunGuard(room, workflow, (self.used, *scope.allowances), purse=purse)
        self._forecast = Forecast(room.habits)

    def before_llm(
        self,
        *,
        model: str | None = None,
        input_tokens: int = 0,
        max_output_tokens: int | None = None,
    ) -> GuardCall:
        """Reserve a call; it must be settled by `after_llm` or given back by `llm_failed`.

        Without max_output_tokens, the longest answer so far is expected again. Calls in flight at
        once are not made to wait for each other near the limit, as they are in the Agents SDK. For
        its part in a budget that other processes share, a call waits up to 5 s; on the thread of an
        event loop it does not, and goes through unless the budget says `on_failure="closed"`.
        """

        def reserve(*, patient: bool) -> Call | None:
            return self._guard.grant(
                self._guard.cover.before_llm(
                    self._forecast,
                    model,
                    input_tokens=input_tokens,
                    max_output_tokens=max_output_tokens,
                    agent=self._agent,
                    patient=patient,
                )
            )

        call = self._guard.safely(lambda: self._wait(reserve))
        return GuardCall(model) if call is None else GuardCall(call.model, call)

    def after_llm(self, call: GuardCall, usage: Any) -> None:
        """Settle a call with its usage: an object or mapping with OpenAI's names, or None.

        input_tokens and output_tokens, or prompt_tokens and completion_tokens; input includes what
        was read from a cache. None counts as what was reserved.
        """
        reserved = call.reserved
        if reserved is not None:
            self._guard.safely(lambda: self._settle(reserved, read_usage(usage)))
        else:
            self._guard.safely(lambda: self._report(call.model, read_usage(usage)))

    def llm_failed(self, call: GuardCall) -> None:
        """Give back what was reserved for a call that failed."""
        reserved = call.reserved
        if reserved is not None:
            self._guard.safely(lambda: self._guard.cover.failed(reserved))

    def before_tool(self, name: str, arguments: object = None) -> None:
        """Count a tool call; the same are those with the same name and arguments."""
        self._guard.safely(lambda: self._guard.before_tool(_fingerprint(name, arguments)))

    def check(self) -> None:
        """Ask whether the run may go on, between steps of other kinds."""
        self._guard.safely(self._guard.check)

    def _wait(self, reserve: Callable[..., Call | None]) -> Call | None:
        """Reserve once there is room in every budget; None where that cannot be waited for."""
        for pause_s in PAUSES_S:
            call = reserve(patient=True)
            if call is not None:
                return call
            if in_event_loop():
                self._guard.room.unchecked["no_server"] += 1
                return reserve(patient=False) if self._guard.is_closed else None
            time.sleep(pause_s)
        return reserve(patient=False)

    def _report(self, model: str | None, usage: Usage | None) -> None:
        """Tell the budgets of a call that nothing was reserved for."""
        cost_usd = None if usage is None else self._guard.room.tariff.price(model, usage)
        self._guard.report(model, self._agent, cost_usd, is_guarded=False)

    def _settle(self, call: Call, usage: Usage | None) -> None:
        cost_usd = self._guard.after_llm(call, self._forecast, usage)
        self._guard.report(call.model, self._agent, cost_usd)


def in_event_loop() -> bool:
    """Whether this thread runs one, which must not be kept waiting."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def read_usage(raw: Any) -> Usage | None:
    """Read token counts by the names of either OpenAI API; None where there are none."""
    if raw is None or isinstance(raw, Usage):
        return raw
    if fields.field(raw, "prompt_tokens") is None:
        return fields.usage(raw)
    renamed = {
        "input_tokens": fields.field(raw, "prompt_tokens"),
        "output_tokens": fields.field(raw, "completion_tokens"),
        "input_tokens_details": fields.field(raw, "prompt_tokens_details"),
        "output_tokens_details": fields.field(raw, "completion_tokens_details"),
    }
    return fields.usage(renamed)


def _fingerprint(name: str, arguments: object) -> int:
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments, order="sorted", enc_hook=repr)
    return hash((name, arguments))
