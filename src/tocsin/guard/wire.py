"""What workers and a server tell each other about budgets, as JSON.

Money is a decimal string, times are RFC 3339. Unknown is null.
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, Self

import msgspec

from tocsin.errors import QueryError
from tocsin.guard.budget_book import BudgetLine
from tocsin.guard.budgets import Budget
from tocsin.guard.leases import Ask, Claim, Grant
from tocsin.guard.timeline import Outlook
from tocsin.model.moment import parse_time, write_time

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
MAX_USD: Final = Decimal(1_000_000)
"""Amounts are below it: what one process spends in a period, and what the store can hold."""
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

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Write a claim."""
        ask = claim.ask
        return cls(
            budget=claim.budget,
            period=write_time(claim.period_ns),
            used_usd=write_usd(ask.used),
            holds_usd=write_usd(ask.holds),
            need_usd=write_usd(ask.need),
            room_usd=write_usd(ask.room),
        )

    def claim(self, worker: str, seq: int) -> Claim:
        """Read it. Raises QueryError."""
        ask = Ask(
            worker=worker,
            seq=seq,
            used=read_usd("used_usd", self.used_usd),
            holds=read_usd("holds_usd", self.holds_usd),
            need=read_usd("need_usd", self.need_usd),
            room=read_usd("room_usd", self.room_usd),
        )
        return Claim(self.budget, parse_time(self.period), ask)


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

    @classmethod
    def of(cls, entry: LeaseEntry, grant: Grant) -> Self:
        """Write what was granted."""
        granted, reach = grant.granted, grant.reach
        if reach is not None:
            reach = min(reach, MAX_USD - STEP_USD)
        return cls(
            budget=entry.budget,
            period=entry.period,
            granted_usd=None if granted is None else write_usd(granted),
            reach_usd=None if reach is None else write_usd(reach),
        )

    def grant(self) -> Grant:
        """Read it. Raises QueryError."""
        granted, reach = self.granted_usd, self.reach_usd
        return Grant(
            None if granted is None else read_usd("granted_usd", granted),
            None if reach is None else read_usd("reach_usd", reach),
        )


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

    @classmethod
    def of(cls, outlook: Outlook | None) -> Self | None:
        """Describe an outlook, if there is one."""
        if outlook is None:
            return None
        runs_out_ns = outlook.runs_out_ns
        return cls(
            total_usd=f"{outlook.total_usd:.2f}",
            runs_out_at=None if runs_out_ns is None else write_time(runs_out_ns),
        )


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

    @classmethod
    def of(cls, line: BudgetLine, now_ns: int, *, leased_usd: Decimal, workers: int) -> Self:
        """Describe a budget as it is now."""
        budget, period = line.budget, line.calendar.period(now_ns)
        spent, outlooks = line.spent(period), line.outlooks(now_ns)
        known = spent.known_usd
        return cls(
            name=budget.name,
            limit_usd=write_usd(line.limit_usd),
            per=budget.per,
            timezone=budget.timezone,
            workflow=list(budget.workflow or ()),
            model=list(budget.model or ()),
            agent=list(budget.agent or ()),
            tags=dict(budget.tags),
            alert_at=[f"{share:f}" for share in budget.alert_at],
            stop_at=None if budget.stop_at is None else f"{budget.stop_at:f}",
            on_failure=budget.on_failure,
            period_start=write_time(period.start_ns),
            period_end=write_time(period.end_ns),
            spent_usd=None if known is None else write_usd(known),
            leased_usd=write_usd(leased_usd),
            left_usd=None if known is None else write_usd(line.limit_usd - known),
            unpriced_calls=spent.unpriced,
            workers=workers,
            pace=OutlookDocument.of(outlooks.get("pace")),
            yesterday=OutlookDocument.of(outlooks.get("yesterday")),
        )

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
