"""A budget's metrics, and what of it they cannot show."""

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from tocsin.app.tariff import Tariff
from tocsin.guard.budget_book import BudgetLine
from tocsin.guard.budget_events import alert_key
from tocsin.guard.budgets import Budget
from tocsin.guard.timeline import Outlook
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Readings

__all__ = ["event_labels", "has_prices", "line_readings"]

logger = logging.getLogger(__name__)

ESTIMATES: Final = ("pace", "yesterday")


def line_readings(
    line: BudgetLine, outlooks: Mapping[str, Outlook], now_ns: int, *, is_shown: bool
) -> Readings:
    """Gauges of a budget's current period; None for what is not known, so that none is shown.

    is_shown: what was spent, too, is this process's to show.
    """
    name, spent = line.budget.name, line.spent(line.calendar.period(now_ns))
    found: Readings = {
        (m.BUDGET_SPENT, (name,)): spent.known_usd if is_shown else None,
        (m.BUDGET_LIMIT, (name,)): line.limit_usd,
    }
    for estimate in ESTIMATES:
        outlook = outlooks.get(estimate) if is_shown else None
        total_usd = None if outlook is None else outlook.total_usd
        found[m.BUDGET_FORECAST, (name, estimate)] = total_usd
    return found


def event_labels(budget: Budget) -> list[tuple[str, str]]:
    """Labels of every event that may be told of a budget."""
    keys = [*(alert_key(Decimal(share)) for share in budget.alert_at), "forecast"]
    return [(budget.name, key) for key in (*keys, *(["stop"] if budget.stop_usd else []))]


def has_prices(budget: Budget, tariff: Tariff) -> bool:
    """Whether a budget can be spent from; says so where it, or a part of it, never will be."""
    without = [model for model in budget.model or () if not has_price(model, tariff)]
    if without:
        logger.warning(
            "budget %s: no price is known of %s: what their calls cost is unknown, and counts in"
            " no budget; tell it, as in install(prices={...})",
            budget.name,
            ", ".join(without),
        )
    return not without or len(without) < len(budget.model or ())


def has_price(model: str, tariff: Tariff) -> bool:
    """Whether calls to a model have a price."""
    return tariff.cost_usd(model, 1_000, 1_000) is not None
