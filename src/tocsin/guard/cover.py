"""All that a call is held to: its run's limits, those around it, and shared accounts."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol, TypeAlias

import msgspec

from tocsin.clock import Clock
from tocsin.guard.account import Account, Amount, Hold, Ledger, Need, Shortage
from tocsin.guard.allowance import Allowance, Notice
from tocsin.guard.estimate import Expected, Forecast

__all__ = ["AccountsOf", "Call", "Cover", "Tariff"]


class Tariff(Protocol):
    """What tokens cost."""

    def cost_usd(self, model: str | None, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Price of a call; None where the model has none."""
        ...


AccountsOf: TypeAlias = Callable[[str | None, str | None], Sequence[Account]]


class Call(msgspec.Struct, gc=False):
    """An LLM call that may be made, with `model` instead of the one that was asked for."""

    hold: Hold
    model: str | None
    expected: Expected
    notices: list[Notice]


class Cover:
    """Decides for one run, or one Guard, whether its next step may be taken.

    Thread-safe; several covers may share allowances and accounts. `allowances` are the limits of
    the run and of every `with tocsin.limit(...)` around it; `accounts` gives whatever else a call
    is reserved against, such as budgets, by the names of its model and its agent. Once a step is
    refused, every later one is, for the same reason: a run may catch what stopped it, but not go
    on.
    """

    def __init__(
        self,
        allowances: Sequence[Allowance],
        *,
        ledger: Ledger,
        clock: Clock,
        tariff: Tariff,
        accounts: AccountsOf | None = None,
    ) -> None:
        self.allowances = tuple(allowances)
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._tariff = tariff
        self.stopped: Shortage | None = None
        self.counts_cost = accounts is not None or any("cost" in one.limits for one in allowances)

    def check(self) -> Shortage | None:
        """Say why the run has to stop; None while it may go on."""
        return self._check(self._clock.monotonic_ns())

    def before_llm(
        self,
        forecast: Forecast,
        model: str | None,
        *,
        input_tokens: int,
        max_output_tokens: int | None = None,
        agent: str | None = None,
        turns: int = 1,
        alone: bool = False,
        patient: bool = False,
    ) -> Call | Shortage | None:
        """Reserve what a call will probably use, everywhere; or say what there is no room for.

        None where it should wait, for which `alone` and `patient` ask (Ledger.reserve).
        """
        now_mono_ns = self._clock.monotonic_ns()
        if (shortage := self._check(now_mono_ns)) is not None:
            return shortage
        notices: list[Notice] = []
        for allowance in self.allowances:
            if allowance.is_noteworthy(now_mono_ns):
                with self._ledger.lock:
                    notices += allowance.notices(now_mono_ns)
            if allowance.is_switching and model is not None:
                model = allowance.rules.switch.get(model, model)
        expected = forecast.expect(model, input_tokens, max_output_tokens)
        need = self._need(model, expected, turns)
        accounts = () if self._accounts is None else self._accounts(model, agent)
        hold = self._ledger.reserve(
            (*self.allowances, *accounts), need, alone=alone, patient=patient
        )
        if isinstance(hold, Shortage):
            return self._refuse(hold)
        return None if hold is None else Call(hold, model, expected, notices)

    def after_llm(
        self, call: Call, forecast: Forecast, tokens: tuple[int, int] | None, cost: Decimal | None
    ) -> None:
        """Settle a call. Where its usage is unknown, what was reserved counts as used."""
        likely = call.hold.need.likely
        if tokens is None:
            self._ledger.settle(call.hold, likely)
            return
        read, written = tokens
        self._ledger.settle(call.hold, Amount(read + written, cost, likely.turns))
        forecast.ended(call.model, call.expected, read, written)

    def failed(self, call: Call) -> None:
        """Give back what a call would have used."""
        self._ledger.release(call.hold)

    def before_tool(self, fingerprint: int | None) -> Shortage | None:
        """Count a tool call; say why it must not be made. None as fingerprint: not comparable."""
        shortage = self._check(self._clock.monotonic_ns())
        if shortage is not None or fingerprint is None:
            return shortage
        with self._ledger.lock:
            for allowance in self.allowances:  # each counts the call, whatever the others say
                refused = allowance.called(fingerprint)
                self.stopped = self.stopped or refused
            return self.stopped

    def time_is_up(self) -> Shortage:
        """Say that the first deadline has come, as the clock that waited for it knows."""
        with self._ledger.lock:
            now_mono_ns = self._clock.monotonic_ns()
            first = min(
                (one for one in self.allowances if one.deadline_mono_ns is not None),
                key=lambda one: one.deadline_mono_ns or 0,
            )
            self.stopped = self.stopped or first.time_is_up(now_mono_ns)
            return self.stopped

    @property
    def left_s(self) -> float | None:
        """Seconds until the first deadline; None where there is none."""
        deadlines = [one.deadline_mono_ns for one in self.allowances]
        known = [deadline for deadline in deadlines if deadline is not None]
        return (min(known) - self._clock.monotonic_ns()) / 1e9 if known else None

    def _refuse(self, shortage: Shortage) -> Shortage:
        """Stop for this reason, or for the one that came first."""
        with self._ledger.lock:
            self.stopped = self.stopped or shortage
            return self.stopped

    def _check(self, now_mono_ns: int) -> Shortage | None:
        # Without the lock, which would cost more than this: whatever is read was true a moment ago,
        # and what matters is asked again when a call is reserved.
        if self.stopped is None:
            for allowance in self.allowances:
                if (shortage := allowance.check(now_mono_ns)) is not None:
                    self.stopped = shortage
                    break
        return self.stopped

    def _need(self, model: str | None, expected: Expected, turns: int) -> Need:
        firm = likely = self._amount(model, expected.input_tokens, expected.output_tokens, turns)
        if not expected.is_sure:
            read, written = expected.likely_input_tokens, expected.likely_output_tokens
            likely = self._amount(model, read, written, turns)
        return Need(firm, likely, expected.doubt)

    def _amount(self, model: str | None, read: int, written: int, turns: int) -> Amount:
        cost_usd = self._tariff.cost_usd(model, read, written) if self.counts_cost else None
        return Amount(read + written, cost_usd, turns)
