"""How well runs kept to their service levels, and how many more may fail."""

import msgspec

from tocsin.runs.limits import WorkflowSLA

__all__ = ["Kept", "budget_left", "burn_rate", "windows_s"]

SHORTER_S = (3600.0, 86_400.0)
"""Windows that are looked at besides a level's own: what happens now, and today."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that ended in a window, by whether they kept to a limit."""

    window_s: float
    within: int
    beyond: int
    unknown: int
    """Nobody can say; neither good nor bad."""

    @property
    def share(self) -> float | None:
        """Share of runs within the limit, 0 to 1, of those that are known; None without any."""
        known = self.within + self.beyond
        return self.within / known if known else None


def windows_s(sla: WorkflowSLA) -> tuple[float, ...]:
    """Windows to look at, ascending; the last is the level's own."""
    own = float(sla.window_seconds)
    return (*(window for window in SHORTER_S if window < own), own)


def burn_rate(kept: Kept, target: float | None) -> float | None:
    """How fast the error budget is used up: 1 uses all of it in the level's window, 2 in half.

    target: share of runs that must be within the limit, above 0 and below 1. None where there is
    no target or no run.
    """
    if target is None or kept.share is None:
        return None
    return kept.beyond / ((kept.within + kept.beyond) * (1 - target))


def budget_left(kept: Kept, target: float | None) -> float | None:
    """Share of the error budget that is left; below 0 once more runs failed than may.

    kept: over the level's own window. 1 - failed / allowed, where allowed is the share of runs
    that need not be within the limit, times the runs that there were.
    """
    rate = burn_rate(kept, target)
    return None if rate is None else 1 - rate
