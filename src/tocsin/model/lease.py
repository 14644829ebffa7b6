"""A worker's part of a budget in one period, as it is kept on disk."""

from decimal import Decimal

import msgspec

__all__ = ["LeaseChange", "LeaseRow"]


class LeaseRow(msgspec.Struct, kw_only=True):
    """Totals in USD since the period began; worker "" is the sum of those not told apart."""

    worker: str
    seq: int = -1
    """Of the last request that was taken into account."""
    granted: Decimal = Decimal(0)
    used: Decimal = Decimal(0)


class LeaseChange(msgspec.Struct, frozen=True, kw_only=True):
    """A row to be written, in place of the one before."""

    budget: str
    period_ns: int
    """When the period begins."""
    row: LeaseRow
    is_gone: bool = False
    """It is to be deleted instead."""
