"""Parts of limits at which something is done before the stop: a warning, another model."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

__all__ = ["NO_SHARES", "Share", "Shares", "Used", "shares_of"]

NS_PER_S: Final = 1_000_000_000
NEVER: Final = Decimal("Infinity")


class Used(msgspec.Struct, frozen=True, gc=False):
    """What is compared with shares, by the names that limits have."""

    tokens: int
    cost: Decimal
    turns: int
    latency: int
    """Nanoseconds."""


class Share(msgspec.Struct, frozen=True, gc=False):
    """Part of a limit, in the unit that is counted in, and what is done from there on."""

    action: str
    """warn or switch."""
    limit: str
    at: int | Decimal


class Shares(msgspec.Struct, frozen=True):
    """Shares that have not been reached yet, and of each limit the smallest, to be quick."""

    all: tuple[Share, ...] = ()
    tokens: float = math.inf
    cost: Decimal = NEVER
    turns: float = math.inf
    latency: float = math.inf

    def split(self, used: Used) -> tuple[list[Share], "Shares"]:
        """Tell those that are reached from those that are not."""
        due = [share for share in self.all if getattr(used, share.limit) >= share.at]
        return due, _with_smallest([share for share in self.all if share not in due])


NO_SHARES: Final = Shares()


def shares_of(shares: Mapping[str, float | None], limits: Mapping[str, Any]) -> Shares:
    """Work out shares, by action, of limits by name; the same tool call has none."""
    return _with_smallest(
        [
            Share(action, limit, _part(share, limit, most))
            for action, share in shares.items()
            for limit, most in limits.items()
            if share is not None and limit != "same_tool_call"
        ]
    )


def _part(share: float, limit: str, most: Any) -> int | Decimal:
    part = Decimal(str(share)) * Decimal(most)
    if limit == "cost":
        return part
    return math.ceil(part * NS_PER_S if limit == "latency" else part)


def _with_smallest(shares: list[Share]) -> Shares:
    smallest: dict[str, Any] = {}
    for share in shares:
        smallest[share.limit] = min(share.at, smallest.get(share.limit, share.at))
    return Shares(tuple(shares), **smallest)
