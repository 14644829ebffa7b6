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


class Amount(msgspec.Struct, frozen=True, gc=False):
    """What a call uses, or is expected to use. An unknown cost is None and limits nothing."""

    tokens: int = 0
    cost_usd: Decimal | None = None
    turns: int = 0


class Need(msgspec.Struct, frozen=True, gc=False):
    """What has to be there for a call to start, and what it will probably use in the end.

    The difference is a guess: it is reserved as far as there is room, and stops nothing. Where
    nothing is guessed, both are one object.
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
        self._most_tokens, self._most_usd, self._most_turns = tokens, cost_usd, turns
        self.tokens = self.turns = 0
        self.cost_usd = ZERO
        self.held_tokens = self.held_turns = 0
        self.held_usd = ZERO
        self.in_flight = 0
        self._error = self._doubt = 1.0

    def lacks(self, firm: Amount) -> Shortage | None:
        """Say which limit the amount would pass."""
        tokens = self.tokens + self.held_tokens + firm.tokens
        if self._most_tokens is not None and tokens > self._most_tokens:
            return self._shortage("tokens", tokens)
        turns = self.turns + self.held_turns + firm.turns
        if self._most_turns is not None and turns > self._most_turns:
            return self._shortage("turns", turns)
        if firm.cost_usd is not None and self._most_usd is not None:
            cost_usd = self.cost_usd + self.held_usd + firm.cost_usd
            if cost_usd > self._most_usd:
                return self._shortage("cost", cost_usd)
        return None

    def passed(self) -> Shortage | None:
        """Say which limit has been passed by what calls really used."""
        if self._most_tokens is not None and self.tokens > self._most_tokens:
            return self._shortage("tokens", self.tokens)
        if self._most_usd is not None and self.cost_usd > self._most_usd:
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
        likely = need.likely
        error = max(self._error, self._doubt, need.doubt)
        tokens = self.tokens + int(error * (self.held_tokens + likely.tokens))
        if self._most_tokens is not None and tokens > self._most_tokens:
            return True
        if self._most_usd is None or likely.cost_usd is None:
            return False
        return self.feared_usd(need) > self._most_usd

    def feared_usd(self, need: Need) -> Decimal:
        """USD that it would come to if calls in flight and this one are as wrong as the last."""
        likely_usd = self.held_usd + (need.likely.cost_usd or ZERO)
        return self.cost_usd + Decimal(max(self._error, self._doubt, need.doubt)) * likely_usd

    def hold(self, need: Need) -> Amount:
        """Set aside what is firm, and of the rest what there is room for."""
        held = need.firm if need.firm is need.likely else self._fitting(need)
        self.held_tokens += held.tokens
        self.held_turns += held.turns
        if held.cost_usd is not None:
            self.held_usd += held.cost_usd
        self.in_flight += 1
        self._error = max(self._error, need.doubt)
        # Other calls that end teach nothing about this one: feared for until none is in flight.
        self._doubt = max(self._doubt, need.doubt)
        return held

    def _fitting(self, need: Need) -> Amount:
        tokens, cost_usd = need.likely.tokens, need.likely.cost_usd
        if self._most_tokens is not None:
            left = self._most_tokens - self.tokens - self.held_tokens
            tokens = max(need.firm.tokens, min(tokens, left))
        if cost_usd is not None and self._most_usd is not None:
            left_usd = self._most_usd - self.cost_usd - self.held_usd
            cost_usd = max(need.firm.cost_usd or ZERO, min(cost_usd, left_usd))
        return Amount(tokens, cost_usd, need.firm.turns)

    def settle(self, held: Amount, used: Amount | None, likely: Amount) -> None:
        """Turn what was set aside into what was used, and learn how far off that was."""
        self.in_flight -= 1
        if not self.in_flight:
            self._doubt = 1.0
        self.held_tokens -= held.tokens
        self.held_turns -= held.turns
        if held.cost_usd is not None:
            self.held_usd -= held.cost_usd
        if used is None:
            return
        self._error = max(_times(used, likely), 1 + (self._error - 1) * ERROR_FADES)
        self.tokens += used.tokens
        self.turns += used.turns
        if used.cost_usd is not None:
            self.cost_usd += used.cost_usd


def _times(used: Amount, likely: Amount) -> float:
    """How many times as much was used as was likely."""
    times = used.tokens / likely.tokens if likely.tokens else 1.0
    # Fewer times than once change nothing, and dividing decimals takes long.
    if used.cost_usd and likely.cost_usd and used.cost_usd > likely.cost_usd:
        times = max(times, float(used.cost_usd / likely.cost_usd))
    return times


class Hold(msgspec.Struct, gc=False):
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
        is_crowded = False
        with self.lock:
            for account in accounts:
                if (shortage := account.lacks(need.firm)) is not None:
                    may_wait = (alone or patient) and account.is_growing(need.firm)
                    return None if may_wait else shortage
                if alone and account.is_crowded(need):
                    is_crowded = True
            if is_crowded:
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
        # Taken out one by one: where an account fails, the others can still be given back.
        while hold.parts:
            account, held = hold.parts.pop()
            account.settle(held, used, hold.need.likely)
