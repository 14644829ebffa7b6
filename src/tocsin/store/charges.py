"""What calls add to budgets, and what of budgets is kept on disk."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from tocsin.model.lease import LeaseChange, LeaseRow

__all__ = ["BudgetStore", "Charge", "Spending"]


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What a call adds to a budget; usd is None where it has no known price."""

    budget: str
    period_ns: int
    """When the budget's period begins in which the call ended."""
    slot_s: int
    """When the slot of the budget's timeline begins in which it did, in seconds since 1970."""
    worker: str
    """Who reports the call's cost besides, as it leases that budget; "" for nobody."""
    usd: Decimal | None


class Spending(msgspec.Struct, frozen=True):
    """Charges of one budget, period and worker, added up."""

    worker: str
    usd: Decimal
    priced: int
    """Calls that have a price, which usd is the sum of."""
    unpriced: int


class BudgetStore(Protocol):
    """What budgets need to have on disk. Everything raises StoreError."""

    def spending(self, budget: str, period_ns: int) -> tuple[int, list[Spending]]:
        """Read what was charged in the period that begins then, by worker.

        Also returns the `Receipt.seq` up to which it is in there.
        """
        ...

    def timeline(self, start_s: int) -> dict[str, dict[int, Decimal]]:
        """Read when money was spent since then: budget -> slot -> USD."""
        ...

    def leases(self, budget: str, period_ns: int) -> list[LeaseRow]:
        """Read the leases of a budget in the period that begins then."""
        ...

    def write_leases(
        self, changes: Sequence[LeaseChange], spent: Mapping[tuple[str, int], Decimal]
    ) -> None:
        """Write leases, all or none of them; durable when this returns.

        spent: USD by budget and slot, to be added to its timeline.
        """
        ...
