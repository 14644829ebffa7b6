"""What one run, or all runs inside one `with tocsin.limit(...)`, may still use."""

from typing import Final

import msgspec

from tocsin.guard.account import ZERO, Amount, LimitedAccount, Shortage
from tocsin.guard.limits import StopLimits
from tocsin.guard.shares import NS_PER_S, Used

__all__ = ["Allowance", "Notice"]

MAX_TOOL_CALLS: Final = 4_096
"""Different tool calls that are told apart in one run; later new ones are not counted."""


class Notice(msgspec.Struct, frozen=True):
    """A limit of which a good part is used: what is done about it, before the stop."""

    action: str
    """warn or switch."""
    limit: str
    value: float
    threshold: float
    """The limit itself, not the share of it at which this was noticed."""


class Allowance(LimitedAccount):
    """An account with a deadline and a memory for tool calls; used under the ledger's lock."""

    def __init__(self, name: str, limits: StopLimits, started_mono_ns: int) -> None:
        super().__init__(
            name,
            tokens=limits.max_tokens,
            cost_usd=limits.max_cost,  # type: ignore[arg-type] # parsed when it was checked
            turns=limits.max_turns,
        )
        self.rules = limits
        self.started_mono_ns = started_mono_ns
        latency_s = limits.max_latency
        self.deadline_mono_ns = (
            None if latency_s is None else started_mono_ns + int(float(latency_s) * NS_PER_S)
        )
        self._tool_calls: dict[int, int] = {}
        self._shares = limits.shares
        self.is_switching = False
        """Models are replaced by now."""

    def go_on_from(self, used: Amount) -> None:
        """Count what a run that is resumed has used before; an unknown cost counts nothing."""
        self.tokens += used.tokens
        self.turns += used.turns
        self.cost_usd += used.cost_usd or ZERO

    def check(self, now_mono_ns: int) -> Shortage | None:
        """Say why nothing may be done any more; None while something may."""
        if self.deadline_mono_ns is not None and now_mono_ns > self.deadline_mono_ns:
            return self.time_is_up(now_mono_ns)
        return self.passed()

    def time_is_up(self, now_mono_ns: int) -> Shortage:
        """Say it, also where a timer was a moment early."""
        now_mono_ns = max(now_mono_ns, self.deadline_mono_ns or 0)
        elapsed_s = (now_mono_ns - self.started_mono_ns) / NS_PER_S
        return Shortage(self.name, "latency", elapsed_s, float(self.rules.max_latency or 0))

    def called(self, fingerprint: int) -> Shortage | None:
        """Count a tool call; say if it is the same once too often."""
        most = self.rules.same_tool_call
        if most is None:
            return None
        count = self._tool_calls.get(fingerprint, 0) + 1
        if count > 1 or len(self._tool_calls) < MAX_TOOL_CALLS:
            self._tool_calls[fingerprint] = count
        if count <= most:
            return None
        return Shortage(self.name, "same_tool_call", count, most)

    def is_noteworthy(self, now_mono_ns: int) -> bool:
        """Whether there will be notices; needs no lock."""
        first = self._shares
        return (
            self.tokens >= first.tokens
            or self.turns >= first.turns
            or now_mono_ns - self.started_mono_ns >= first.latency
            or self.cost_usd >= first.cost
        )

    def notices(self, now_mono_ns: int) -> list[Notice]:
        """Limits whose share for a warning or a switch is used up, each once."""
        latency = now_mono_ns - self.started_mono_ns
        used = Used(self.tokens, self.cost_usd, self.turns, latency)
        due, self._shares = self._shares.split(used)
        self.is_switching = self.is_switching or any(share.action == "switch" for share in due)
        return [self._notice(share.action, share.limit, used) for share in due]

    def _notice(self, action: str, limit: str, used: Used) -> Notice:
        value = float(getattr(used, limit))
        if limit == "latency":
            value /= NS_PER_S
        return Notice(action, limit, value, float(self.rules.limits[limit]))
