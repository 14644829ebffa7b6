"""What one run, or all runs inside one `with tocsin.limit(...)`, may still use."""

from collections.abc import Iterator
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
        self._noticed: set[tuple[str, str]] = set()

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
        return self._shortage("latency", (now_mono_ns - self.started_mono_ns) / NS_PER_S)

    def called(self, fingerprint: int) -> Shortage | None:
        """Count a tool call; say if it is the same once too often."""
        most = self.rules.same_tool_call
        if most is None:
            return None
        count = self._tool_calls.get(fingerprint, 0) + 1
        if count > 1 or len(self._tool_calls) < MAX_TOOL_CALLS:
            self._tool_calls[fingerprint] = count
        return self._shortage("same_tool_call", count) if count > most else None

    def notices(self, now_mono_ns: int) -> Iterator[Notice]:
        """Limits whose share for a warning or a switch is used up, each once."""
        for action, share in (("warn", self.rules.warn_at), ("switch", self.rules.switch_at)):
            if share is None:
                continue
            for limit, value, threshold in self._shares(now_mono_ns):
                if value >= share * threshold and (action, limit) not in self._noticed:
                    self._noticed.add((action, limit))
                    yield Notice(action, limit, value, threshold)

    @property
    def is_switching(self) -> bool:
        """Whether models are replaced by now."""
        return any(action == "switch" for action, _ in self._noticed)

    def _shares(self, now_mono_ns: int) -> Iterator[tuple[str, float, float]]:
        for limit, most in self.limits.items():
            yield limit, float(self.used(limit)), float(most)
        if self.rules.max_latency is not None:
            elapsed_s = (now_mono_ns - self.started_mono_ns) / NS_PER_S
            yield "latency", elapsed_s, float(self.rules.max_latency)

    def _shortage(self, limit: str, value: float) -> Shortage:
        return Shortage(self.name, limit, value, float(self.rules.limits[limit]))
