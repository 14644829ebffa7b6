"""A table of budgets."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from tocsin.cli_runs.terminal import empty_table
from tocsin.cli_runs.words import clean, usd
from tocsin.guard.periods import zone_of
from tocsin.guard.wire import BudgetDocument, BudgetsDocument, OutlookDocument
from tocsin.model.amounts import UNKNOWN, at_least
from tocsin.model.moment import NS_PER_S, parse_time

__all__ = ["table_of"]

HEADERS: Final = (
    *("Budget", "Period", "Spent", "Limit", "Used", "Leased", "Left"),
    *("At this pace", "Like yesterday", "Unpriced"),
)
NUMBERS: Final = HEADERS[2:]
LONG: Final = {"hour": "%H:%M", "day": "%b %d", "month": "%b %Y"}


def table_of(found: BudgetsDocument) -> RenderableType:
    """Draw budgets, one a line; what is unknown is a dash."""
    if not found.budgets:
        return Text("no budgets: none is written in the server's tocsin.yaml", "dim")
    table = empty_table(HEADERS, NUMBERS)
    for budget in found.budgets:
        table.add_row(Text(clean(budget.name), "bold"), *_cells(budget))
    return table


def _cells(budget: BudgetDocument) -> list[Text]:
    spent, limit = budget.spent_usd, Decimal(budget.limit_usd)
    share = None if spent is None else Decimal(spent) / limit
    is_stopping = budget.stop_at is not None
    return [
        Text(_period(budget)),
        Text(at_least(usd(spent), partial=budget.unpriced_calls > 0)),
        Text(usd(budget.limit_usd)),
        Text(UNKNOWN if share is None else f"{share:.0%}", _style(share)),
        Text(usd(budget.leased_usd) if is_stopping else UNKNOWN),
        Text(UNKNOWN if budget.left_usd is None else _signed(budget.left_usd)),
        _outlook(budget, budget.pace),
        _outlook(budget, budget.yesterday),
        Text(str(budget.unpriced_calls), "yellow" if budget.unpriced_calls else ""),
    ]


def _style(share: Decimal | None) -> str:
    if share is None or share < Decimal("0.8"):
        return ""
    return "yellow" if share < 1 else "bold red"


def _signed(amount: str) -> str:
    return f"-{usd(amount[1:])}" if amount.startswith("-") else usd(amount)


def _outlook(budget: BudgetDocument, outlook: OutlookDocument | None) -> Text:
    """Say what it will come to, and when the limit is reached, if it is."""
    if outlook is None:
        return Text(UNKNOWN)
    total = usd(outlook.total_usd)
    if outlook.runs_out_at is None:
        return Text(total)
    at = _local(budget, outlook.runs_out_at)
    starts = _local(budget, budget.period_start)
    when = f"{at:%H:%M}" if budget.per != "month" else f"{at:%b %d %H:%M}"
    is_over = at <= starts or outlook.runs_out_at == budget.period_start
    return Text(f"{total}, {'over' if is_over else 'out ' + when}", "red")


def _period(budget: BudgetDocument) -> str:
    start = _local(budget, budget.period_start)
    return f"{budget.per} {start:{LONG[budget.per]}} {budget.timezone}"


def _local(budget: BudgetDocument, moment: str) -> datetime:
    zone = zone_of(budget.timezone) or UTC
    return datetime.fromtimestamp(parse_time(moment) // NS_PER_S, zone)
