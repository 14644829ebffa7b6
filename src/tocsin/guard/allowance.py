"""What one run, or all runs inside one `with tocsin.limit(...)`, may still use."""

from decimal import Decimal
from typing import Final

import msgspec

from tocsin.guard.account import LimitedAccount, Shortage
from tocsin.guard.limits import StopLimits

__all__ = ["Allowance", "Notice"]

NS_PER_S: Final = 1_000_000_000
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
        self._shares = shares_of(limits)
        self.is_switching = False
        """Models are replaced by now."""

    def check(self, now_mono_ns: int) -> Shortage | None:
        """Say why nothing may be done any more; None while something may."""
        return self.overdue(now_mono_ns) or self.passed()

    def overdue(self, now_mono_ns: int) -> Shortage | None:
        """Say that the time is up; None while it is not."""
        if self.deadline_mono_ns is None or now_mono_ns <= self.deadline_mono_ns:
            return None
        return self.time_is_up(now_mono_ns)

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

    def notices(self, now_mono_ns: int) -> list[Notice]:
        """Limits whose share for a warning or a switch is used up, each once."""
        if not self._shares:
            return []
        used: dict[str, int | Decimal] = {
            "tokens": self.tokens,
            "cost": self.cost_usd,
            "turns": self.turns,
            "latency": now_mono_ns - self.started_mono_ns,
        }
        due = [share for share in self._shares if used[share[1]] >= share[2]]
        if not due:
            return []
        self._shares = [share for share in self._shares if share not in due]
        self.is_switching = self.is_switching or any(share[0] == "switch" for share in due)
        return [self._notice(action, limit, used[limit]) for action, limit, _ in due]

    def _notice(self, action: str, limit: str, used: int | Decimal) -> Notice:
        value = float(used) / NS_PER_S if limit == "latency" else float(used)
        return Notice(action, limit, value, float(self.rules.limits[limit]))


def shares_of(rules: StopLimits) -> list[tuple[str, str, Decimal]]:
    """From where on what is done about which limit, in the unit that is counted in."""
    return [
        (
            action,
            limit,
            Decimal(str(share)) * Decimal(most) * (NS_PER_S if limit == "latency" else 1),
        )
        for action, share in (("warn", rules.warn_at), ("switch", rules.switch_at))
        for limit, most in rules.limits.items()
        if share is not None and limit != "same_tool_call"
    ]
