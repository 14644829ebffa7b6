"""Accounts that calls are reserved against, all of them or none."""

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec

__all__ = ["Account", "Amount", "Hold", "Ledger", "LimitedAccount", "Need", "Shortage"]

ZERO: Final = Decimal(0)
ERROR_FADES: Final = 0.5
"""What is left, after a better estimate, of the fear that estimates are as wrong as the last."""


class Amount(msgspec.Struct, frozen=True):
    """What a call uses, or is expected to use. An unknown cost is None and limits nothing."""

    tokens: int = 0
    cost_usd: Decimal | None = None
    turns: int = 0


class Need(msgspec.Struct, frozen=True):
    """What has to be there for a call to start, and what it will probably use in the end.

    The difference is a guess: it is reserved as far as there is room, and stops nothing.
    """

    firm: Amount
    likely: Amount
    doubt: float = 1.0
    """By how much the truth may be a multiple of what is likely."""


class Shortage(msgspec.Struct, frozen=True):
    """An account that has no room; value is what it would have come to."""

    account: str
    limit: str
    value: float
    threshold: float


class Account(Protocol):
    """Something calls are reserved against. Only a Ledger calls it, under its lock."""

    def lacks(self, firm: Amount) -> Shortage | None:
        """Say what there is no room for; None where the amount fits."""
        ...

    def is_growing(self, firm: Amount) -> bool:
        """Whether an account without room may soon have some, so that a call should wait."""
        ...

    def is_crowded(self, need: Need) -> bool:
        """Whether calls in flight might, together with this one, pass a limit."""
        ...

    def hold(self, need: Need) -> Amount:
        """Set an amount aside; return what was set aside."""
        ...

    def settle(self, held: Amount, used: Amount | None, likely: Amount) -> None:
        """Turn what was set aside into what was used; None: the call failed, and used nothing."""
        ...


class LimitedAccount:
    """Tokens, cost and turns up to limits; a limit that is None is none."""

    def __init__(
        self,
        name: str = "",
        *,
        tokens: int | None = None,
        cost_usd: Decimal | None = None,
        turns: int | None = None,
    ) -> None:
        self.name = name
        self.limits = {
            limit: most
            for limit, most in (("tokens", tokens), ("cost", cost_usd), ("turns", turns))
            if most is not None
        }
        self.tokens = self.turns = 0
        self.cost_usd = ZERO
        self.held_tokens = self.held_turns = 0
        self.held_usd = ZERO
        self.in_flight = 0
        self._error = 1.0

    def lacks(self, firm: Amount) -> Shortage | None:
        """Say which limit the amount would pass."""
        limits = self.limits
        tokens = self.tokens + self.held_tokens + firm.tokens
        if tokens > limits.get("tokens", tokens):
            return self._shortage("tokens", tokens)
        turns = self.turns + self.held_turns + firm.turns
        if turns > limits.get("turns", turns):
            return self._shortage("turns", turns)
        if firm.cost_usd is not None and (most := limits.get("cost")) is not None:
            cost_usd = self.cost_usd + self.held_usd + firm.cost_usd
            if cost_usd > most:
                return self._shortage("cost", cost_usd)
        return None

    def passed(self) -> Shortage | None:
        """Say which limit has been passed by what calls really used."""
        limits = self.limits
        if self.tokens > limits.get("tokens", self.tokens):
            return self._shortage("tokens", self.tokens)
        if "cost" in limits and self.cost_usd > limits["cost"]:
            return self._shortage("cost", self.cost_usd)
        return None

    def _shortage(self, limit: str, value: float | Decimal) -> Shortage:
        return Shortage(self.name, limit, float(value), float(self.limits[limit]))

    def is_growing(self, firm: Amount) -> bool:
        """Whether it may soon have more room: no, a limit stays what it is."""
        return False

    def used(self, limit: str) -> int | Decimal:
        """What calls that have ended used of a limit."""
        if limit == "cost":
            return self.cost_usd
        return self.tokens if limit == "tokens" else self.turns

    def is_crowded(self, need: Need) -> bool:
        """Whether there are calls in flight that with this one might pass a limit."""
        if not self.in_flight:
            return False
        error, likely = max(self._error, need.doubt), need.likely
        tokens = self.tokens + int(error * (self.held_tokens + likely.tokens))
        if tokens > self.limits.get("tokens", tokens):
            return True
        most = self.limits.get("cost")
        if most is None or likely.cost_usd is None:
            return False
        return self.feared_usd(need) > most

    def feared_usd(self, need: Need) -> Decimal:
        """USD that it would come to if calls in flight and this one are as wrong as the last."""
        likely_usd = self.held_usd + (need.likely.cost_usd or ZERO)
        return self.cost_usd + Decimal(max(self._error, need.doubt)) * likely_usd

    def hold(self, need: Need) -> Amount:
        """Set aside what is firm, and of the rest what there is room for."""
        tokens, cost_usd = need.likely.tokens, need.likely.cost_usd
        if (most := self.limits.get("tokens")) is not None:
            left = int(most) - self.tokens - self.held_tokens
            tokens = max(need.firm.tokens, min(tokens, left))
        if cost_usd is not None and (most := self.limits.get("cost")) is not None:
            left_usd = most - self.cost_usd - self.held_usd
            cost_usd = max(need.firm.cost_usd or ZERO, min(cost_usd, left_usd))
        self.held_tokens += tokens
        self.held_usd += cost_usd or ZERO
        self.held_turns += need.firm.turns
        self.in_flight += 1
        self._error = max(self._error, need.doubt)
        return Amount(tokens, cost_usd, need.firm.turns)

    def settle(self, held: Amount, used: Amount | None, likely: Amount) -> None:
        """Turn what was set aside into what was used, and learn how far off that was."""
        self.in_flight -= 1
        self.held_tokens -= held.tokens
        self.held_usd -= held.cost_usd or ZERO
        self.held_turns -= held.turns
        if used is None:
            return
        self._error = max(_times(used, likely), 1 + (self._error - 1) * ERROR_FADES)
        self.tokens += used.tokens
        self.cost_usd += used.cost_usd or ZERO
        self.turns += used.turns


def _times(used: Amount, likely: Amount) -> float:
    """How many times as much was used as was likely."""
    times = used.tokens / likely.tokens if likely.tokens else 1.0
    if used.cost_usd and likely.cost_usd:
        times = max(times, float(used.cost_usd / likely.cost_usd))
    return times


class Hold(msgspec.Struct):
    """A reservation in every account of a call, until it is settled or released."""

    need: Need
    parts: list[tuple[Account, Amount]] = []


class Ledger:
    """Keeps accounts in step: one lock for all, held for microseconds.

    A call is reserved in all of its accounts or in none. What calls use passes a limit only by what
    they use beyond what was reserved for them. That this is one call's error, however many there
    are, is what `alone` is for.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def reset_after_fork(self) -> None:
        """Make a new lock: the parent's may be held by a thread that does not exist here."""
        self.lock = threading.Lock()

    def reserve(
        self,
        accounts: Sequence[Account],
        need: Need,
        *,
        alone: bool = False,
        patient: bool = False,
    ) -> Hold | Shortage | None:
        """Set a call's need aside in every account; where one has no room, in none.

        alone: None where an account is so near its limit that calls should go one at a time, and
        others are in flight: once they have ended, it will be known how much they used. patient:
        None where an account without room may soon have some, which who asks for `alone` is too.
        """
        with self.lock:
            for account in accounts:
                if (shortage := account.lacks(need.firm)) is not None:
                    may_wait = (alone or patient) and account.is_growing(need.firm)
                    return None if may_wait else shortage
            if alone and any(account.is_crowded(need) for account in accounts):
                return None
            hold = Hold(need)
            try:
                for account in accounts:
                    hold.parts.append((account, account.hold(need)))
            except BaseException:
                self._settle(hold, None)
                raise
            return hold

    def settle(self, hold: Hold, used: Amount) -> None:
        """Note what a call used; the second time for the same call nothing happens."""
        with self.lock:
            self._settle(hold, used)

    def release(self, hold: Hold) -> None:
        """Give back what a call that failed would have used."""
        with self.lock:
            self._settle(hold, None)

    def _settle(self, hold: Hold, used: Amount | None) -> None:
        parts, hold.parts = hold.parts, []
        for account, held in parts:
            account.settle(held, used, hold.need.likely)
