"""Parts of runs as the terminal shows them."""

import datetime as dt
from decimal import Decimal
from typing import Final

from rich.text import Text

from tocsin.api.documents import RunDocument
from tocsin.model.amounts import at_least, count, duration, money
from tocsin.model.moment import NS_PER_S, parse_time
from tocsin.model.run import Outcome
from tocsin.store.base import FAILED

__all__ = ["clean", "cost_of", "duration", "outcome_of", "started", "tokens_of", "usd"]

STYLES: Final = {
    Outcome.OK: "green",
    Outcome.GUARDRAIL: "yellow",
    Outcome.CANCELLED: "yellow",
    Outcome.UNKNOWN: "dim",
} | dict.fromkeys(FAILED, "bold red")


def clean(text: str) -> str:
    """Replace what a terminal would obey instead of showing: names come from the network."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def outcome_of(run: RunDocument) -> Text:
    """Name how a run ended, or that it goes on."""
    if run.outcome is None:
        return Text("running", "cyan")
    return Text(run.outcome.value, STYLES.get(run.outcome, ""))


def tokens_of(run: RunDocument) -> str:
    """Write a run's tokens, marked where calls reported none."""
    return at_least(count(run.total_tokens), partial=run.usage_missing > 0)


def cost_of(run: RunDocument) -> str:
    """Write a run's cost, marked where calls could not be priced."""
    partial = run.unpriced_calls > 0 or run.usage_missing > 0
    return at_least(usd(run.cost_usd), partial=partial)


def usd(amount: str | None) -> str:
    """Write dollars."""
    return money(None if amount is None else float(Decimal(amount)))


def started(moment: str, now_ns: int) -> str:
    """Write a time in the terminal's zone: of today 14:03:12, earlier Nov 23 14:03."""
    then = _local(parse_time(moment))
    now = _local(now_ns)
    if then.date() == now.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%b %d %H:%M}" if then.year == now.year else f"{then:%Y-%m-%d}"


def _local(time_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ns // NS_PER_S, dt.UTC).astimezone()
