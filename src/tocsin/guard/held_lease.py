"""A worker's side of a lease: what it may still use, when to ask for more, and for how much."""

import random
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.guard.leases import Ask, Grant

__all__ = ["HeldLease", "Use"]

ZERO: Final = Decimal(0)
NS_PER_S: Final = 1_000_000_000
HORIZON_S: Final = 5
"""For so long what is granted should last, at the pace of late."""
REPORT_S: Final = 1.0
"""How old what was used may get before it is reported."""
SOON_S: Final = 0.1
"""The same, where what is left may not last."""
IDLE_S: Final = 2.0
"""After so long without a call, what is left is given back."""
PATIENCE_S: Final = 5.0
"""How long calls wait for a server that does not answer."""
AGAIN_S: Final = (0.1, 0.4)
"""How long to wait, at random, when there was not enough: others may be in the same place."""


class Use(msgspec.Struct, frozen=True):
    """What a worker has used and set aside, in USD since the period began."""

    used: Decimal = ZERO
    held: Decimal = ZERO


class HeldLease:
    """What a worker may use of one budget in one period. Not thread-safe.

    Times are monotonic. A lease ends for the worker before it ends for the server, since the worker
    counts from before it asked.
    """

    def __init__(self, worker: str, dice: random.Random | None = None) -> None:
        self.worker = worker
        self.granted: Decimal | None = ZERO
        """In total; None where there is no limit."""
        self.reach: Decimal | None = None
        """More than this nobody will grant; None where that is not known."""
        self._dice = dice or random.Random()
        self._until_ns = 0
        self._expiry_ns = 0
        self._seq = -1
        self._sent_ns = 0
        """When the last request was made."""
        self._sent = Use()
        self._pace_usd = ZERO
        """Used per second, of late."""
        self._used_ns = 0
        """When something was used last."""
        self._missing = ZERO
        """Room that calls have not found since the last request, and the most that one lacked."""
        self._most_missing = ZERO
        self._is_short = False
        """The last answer was too little."""
        self._again_ns = 0
        """Not to ask before."""
        self._silent_ns: int | None = None
        """When the first of the requests was made that have not been answered."""

    def limit(self, use: Use, now_ns: int) -> Decimal | None:
        """USD that may be used in total; None where there is no limit."""
        if self.granted is None or now_ns < self._until_ns:
            return self.granted
        return use.used

    def is_cut_off(self, now_ns: int) -> bool:
        """Whether the server has not answered for so long that nobody should wait for it."""
        since_ns = self._silent_ns
        return since_ns is not None and now_ns - since_ns > PATIENCE_S * NS_PER_S

    def lacks(self, usd: Decimal) -> None:
        """Note that a call has not found room for so much."""
        self._missing += usd
        self._most_missing = max(self._most_missing, usd)

    def ask(self, use: Use, seq: int, now_ns: int, *, is_last: bool = False) -> Ask | None:
        """Return what to ask for; None while there is no need to.

        seq: more than any before. is_last: report, and give back what is left.
        """
        if use.used > self._sent.used or use.held:
            self._used_ns = now_ns
        if is_last and (use.used != self._sent.used or self._left(use) > 0):
            self._missing = ZERO
        elif now_ns < self._again_ns or not self._is_due(use, now_ns):
            return None
        self._measure(use, now_ns)
        is_idle = is_last or self._is_idle(now_ns)
        if (is_idle or self._is_short) and self.granted is not None:
            self.granted = min(self.granted, use.used + use.held)  # before it is told to anyone
        self._seq = seq
        self._sent, self._sent_ns = use, now_ns
        lacking, self._most_missing = self._most_missing, ZERO
        missing, self._missing = self._missing, ZERO
        room = max(missing, ZERO if is_idle else self._pace_usd * HORIZON_S)
        return Ask(
            worker=self.worker,
            seq=seq,
            used=use.used,
            holds=self.limit(use, now_ns) or ZERO,
            need=use.held + lacking if lacking else ZERO,
            room=use.held + room,
        )

    def heard(self, ask: Ask, grant: Grant, *, asked_ns: int, expiry_s: float, now_ns: int) -> None:
        """Take an answer; one to an earlier request than the last is void."""
        if ask.seq != self._seq:
            return
        self._silent_ns = None
        self._expiry_ns = int(expiry_s * NS_PER_S)
        self._until_ns = asked_ns + self._expiry_ns
        self.granted, self.reach = grant.granted, grant.reach
        self._is_short = grant.granted is not None and grant.granted < ask.used + ask.need
        if self._is_short:
            self._again_ns = now_ns + int(self._dice.uniform(*AGAIN_S) * NS_PER_S)

    def missed(self) -> None:
        """Note that a request was not answered; the next one can be made at once."""
        if self._silent_ns is None:
            self._silent_ns = self._sent_ns

    def _is_due(self, use: Use, now_ns: int) -> bool:
        age_ns = now_ns - self._sent_ns
        if self._missing or self._silent_ns is not None:
            return True
        left = self._left(use)
        if use.used != self._sent.used:
            will_not_do = self.granted is not None and left < self._pace_usd * HORIZON_S / 2
            return age_ns > (SOON_S if will_not_do else REPORT_S) * NS_PER_S
        if left <= 0 and not use.held:
            return False
        return self._is_idle(now_ns) or age_ns > self._expiry_ns / 4

    def _left(self, use: Use) -> Decimal:
        return ZERO if self.granted is None else self.granted - use.used - use.held

    def _is_idle(self, now_ns: int) -> bool:
        return not self._missing and now_ns - self._used_ns > IDLE_S * NS_PER_S

    def _measure(self, use: Use, now_ns: int) -> None:
        """Learn how fast money is used; what is held by calls will be used soon."""
        elapsed_s = Decimal(max(now_ns - self._sent_ns, NS_PER_S // 10)) / NS_PER_S
        pace_usd = (use.used - self._sent.used) / elapsed_s
        self._pace_usd = max(pace_usd, self._pace_usd / 2)
