"""What workers and a server tell each other about budgets, as JSON.

Money is a decimal string, times are RFC 3339. Unknown is null.
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

import msgspec

from tocsin.errors import QueryError
from tocsin.guard.budgets import Budget

__all__ = [
    "BUDGETS_PATH",
    "LEASES_PATH",
    "BudgetDocument",
    "BudgetsDocument",
    "LeaseDocument",
    "LeaseEntry",
    "LeaseRequest",
    "LeasesDocument",
    "OutlookDocument",
    "read_usd",
    "write_usd",
]

BUDGETS_PATH: Final = "/api/v1/budgets"
LEASES_PATH: Final = "/api/v1/budgets/leases"
MAX_USD: Final = Decimal(100_000)
STEP_USD: Final = Decimal("1e-12")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Worker = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z._:-]{1,64}$")]
Money = Annotated[str, msgspec.Meta(max_length=40)]
Seq = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class LeaseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker asks for of one budget; amounts are totals since the period began."""

    budget: Name
    period: Name
    """When the period begins."""
    used_usd: Money
    holds_usd: Money = "0"
    """In total, what it keeps to until it is answered; less than was granted gives back."""
    need_usd: Money = "0"
    """Beyond what is used, without which the rest is of no use."""
    room_usd: Money = "0"
    """Beyond what is used, what it would like to have."""


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's request. seq grows with each; those that come too late change nothing."""

    worker: Worker
    seq: Seq
    budgets: Annotated[list[LeaseEntry], msgspec.Meta(max_length=1000)]


class LeaseDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker may use of one budget in total; None where there is no limit."""

    budget: str
    period: str
    granted_usd: str | None
    reach_usd: str | None
    """What that could be if all others gave back what they hold."""


class LeasesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a request, valid for expires_s from before the request was made."""

    seq: int
    now: str
    """By the server's clock, which decides what period it is."""
    expires_s: float
    budgets: list[LeaseDocument]


class OutlookDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a period will come to; runs_out_at is None where that is within the limit."""

    total_usd: str
    runs_out_at: str | None


class BudgetDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, and what has become of it in its current period."""

    name: str
    limit_usd: str
    per: str
    timezone: str
    workflow: list[str]
    model: list[str]
    agent: list[str]
    tags: dict[str, str]
    alert_at: list[str]
    stop_at: str | None
    on_failure: str
    period_start: str
    period_end: str
    spent_usd: str | None
    leased_usd: str
    left_usd: str | None
    """Of the limit; below zero where it is passed."""
    unpriced_calls: int
    workers: int
    """That have a part in it, in this period."""
    pace: OutlookDocument | None
    yesterday: OutlookDocument | None

    def budget(self) -> Budget:
        """Make the budget that this describes. Raises ConfigError."""
        return Budget(
            self.name,
            limit=self.limit_usd,
            per=self.per,
            timezone=self.timezone,
            workflow=self.workflow or None,
            model=self.model or None,
            agent=self.agent or None,
            tags=self.tags,
            alert_at=self.alert_at,
            stop_at=self.stop_at,
            on_failure=self.on_failure,
        )


class BudgetsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All budgets of a server. now: by its clock."""

    now: str
    budgets: list[BudgetDocument]


def read_usd(field: str, text: str) -> Decimal:
    """Read an amount of dollars. Raises QueryError."""
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 <= usd < MAX_USD:
        raise QueryError(f"{field}: {text!r} is not an amount; write US dollars, such as 0.25")
    return usd.quantize(STEP_USD)


def write_usd(usd: Decimal) -> str:
    """Write an amount as a plain decimal."""
    return f"{usd.quantize(STEP_USD).normalize():f}"
