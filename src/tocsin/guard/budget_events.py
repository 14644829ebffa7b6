"""What is worth telling about a budget: shares of its limit, a limit that is near, a stop."""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.guard.budget_book import BudgetLine
from tocsin.guard.periods import Period
from tocsin.guard.timeline import Outlook
from tocsin.model.run import format_amount

__all__ = ["BudgetEvent", "alert_key", "alerts", "early_warning", "stopped"]

NS_PER_S: Final = 1_000_000_000
EARLY_FROM: Final = Decimal("0.2")
"""Share of a limit below which nothing is said of the future: a morning's first hour is no day."""
EARLY_UNTIL: Final = 20
"""A limit reached in the last twentieth of a period is no early warning."""


class BudgetEvent(msgspec.Struct, frozen=True):
    """Something about a budget that is told once per period."""

    budget: str
    period: Period
    key: str
    """What it is: alert:0.8, forecast or stop."""
    severity: str
    message: str

    @property
    def kind(self) -> str:
        """Which of these: alert, forecast or stop."""
        return self.key.partition(":")[0]


def alerts(line: BudgetLine, now_ns: int) -> list[BudgetEvent]:
    """Shares of the limit that are spent, and were not told of yet in their period."""
    return [event for period in line.recent(now_ns) for event in _alerts(line, period)]


def early_warning(line: BudgetLine, now_ns: int) -> BudgetEvent | None:
    """Tell that at the current pace the budget ends before its period; None where it does not."""
    period = line.calendar.period(now_ns)
    is_time = EARLY_FROM * line.limit_usd <= line.spent(period).usd < line.limit_usd
    if not is_time or "forecast" in line.told(period):
        return None
    outlooks = line.outlooks(now_ns)
    pace = outlooks.get("pace")
    latest_ns = period.end_ns - (period.end_ns - period.start_ns) // EARLY_UNTIL
    if pace is None or pace.runs_out_ns is None or pace.runs_out_ns > latest_ns:
        return None
    text = (
        f"{_state(line, period)}; at the current pace it runs out"
        f" {_when(line, pace.runs_out_ns, now_ns)}, before the {line.budget.per} ends"
        f" {_when(line, period.end_ns, now_ns)}"
    )
    if (yesterday := outlooks.get("yesterday")) is not None:
        text += f"; at the pace of the last 24 hours it {_fate(line, yesterday, now_ns)}"
    return _event(line, period, "forecast", "warning", text)


def stopped(line: BudgetLine, now_ns: int) -> BudgetEvent | None:
    """Tell that calls are stopped; None where that was told already in this period."""
    period = line.calendar.period(now_ns)
    if "stop" in line.told(period):
        return None
    text = f"calls are stopped at {line.budget.stop_at:.0%}: {_state(line, period)}"
    return _event(line, period, "stop", "critical", text)


def alert_key(share: Decimal) -> str:
    """Key of the event that a share of a limit is spent."""
    return f"alert:{share.normalize():f}"


def _alerts(line: BudgetLine, period: Period) -> list[BudgetEvent]:
    usd, told = line.spent(period).usd, line.told(period)
    return [
        _event(line, period, key, "warning" if share < 1 else "critical", _state(line, period))
        for share in map(Decimal, line.budget.alert_at)
        if usd >= share * line.limit_usd and (key := alert_key(share)) not in told
    ]


def _fate(line: BudgetLine, outlook: Outlook, now_ns: int) -> str:
    if outlook.runs_out_ns is None:
        return f"comes to {_usd(outlook.total_usd)}"
    return f"runs out {_when(line, outlook.runs_out_ns, now_ns)}"


def _event(line: BudgetLine, period: Period, key: str, severity: str, text: str) -> BudgetEvent:
    return BudgetEvent(
        line.budget.name, period, key, severity, f"budget {line.budget.name}: {text}"
    )


def _state(line: BudgetLine, period: Period) -> str:
    """Amounts and since when, and how many calls are not in them."""
    spent, begins = line.spent(period), _local(line, period.start_ns)
    text = (
        f"{_usd(spent.usd)} of {_usd(line.limit_usd)} spent ({spent.usd / line.limit_usd:.0%})"
        f" since {begins:%Y-%m-%d %H:%M} {line.budget.timezone}"
    )
    return text + (f", without {spent.unpriced} unpriced calls" if spent.unpriced else "")


def _usd(amount: Decimal) -> str:
    return format_amount("cost", float(amount))


def _when(line: BudgetLine, at_ns: int, now_ns: int) -> str:
    """A time of this day as such, another with its date; midnight is when a day ends."""
    at, now = _local(line, at_ns), _local(line, now_ns)
    if (at.hour, at.minute) == (0, 0) and line.budget.per != "hour":
        last = _local(line, at_ns - 60 * NS_PER_S)
        return "at 24:00" if last.date() == now.date() else f"on {last:%Y-%m-%d} at 24:00"
    return f"at {at:%H:%M}" if at.date() == now.date() else f"on {at:%Y-%m-%d} at {at:%H:%M}"


def _local(line: BudgetLine, at_ns: int) -> datetime:
    """A moment on the budget's own clock, to the nearest minute."""
    minutes = (at_ns + 30 * NS_PER_S) // (60 * NS_PER_S)
    return datetime.fromtimestamp(minutes * 60, line.calendar.zone)
