from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS
from tocsin.guard.budget_book import BudgetBook, BudgetLine, Spent
from tocsin.guard.budget_events import BudgetEvent, alerts, early_warning, stopped
from tocsin.guard.budgets import Budget, Work
from tocsin.guard.periods import Calendar

NS = 1_000_000_000
HOUR = 3600 * NS
TODAY = Calendar("day", UTC).period(NOON_NS)
YESTERDAY = Calendar("day", UTC).period(TODAY.start_ns - 1)


def line(limit: Any = 100, **options: Any) -> BudgetLine:
    return BudgetLine(Budget("team", limit=limit, **options), NOON_NS)


def keys(events: list[BudgetEvent]) -> list[str]:
    return [event.key for event in events]


def test_calls_count_into_every_budget_that_covers_them() -> None:
    book = BudgetBook()
    budgets = [
        Budget("all", limit=1),
        Budget("m", limit=1, model="m"),
        Budget("n", limit=1, model="n"),
    ]
    book.open(budgets, NOON_NS)

    book.add(Work("w", "m"), Decimal(3), NOON_NS)

    assert [Decimal(3), Decimal(3), Decimal(0)] == [
        one.spent(TODAY).usd for one in book.lines.values()
    ]


def test_a_late_call_counts_into_its_own_period() -> None:
    book = line()
    book.add(Decimal(3), TODAY.start_ns - 1)
    book.add(Decimal(4), TODAY.start_ns)

    assert (Decimal(3), Decimal(4)) == (book.spent(YESTERDAY).usd, book.spent(TODAY).usd)


def test_sums_are_exact() -> None:
    book = line()
    for _ in range(10):
        book.add(Decimal("0.1"), NOON_NS)

    assert Decimal(1) == book.spent(TODAY).usd


def test_what_has_no_price_is_counted_and_unknown_while_nothing_has_one() -> None:
    book = line()
    assert Decimal(0) == book.spent(TODAY).known_usd

    book.add(None, NOON_NS)
    assert book.spent(TODAY).known_usd is None
    book.add(Decimal(2), NOON_NS)
    assert (Decimal(2), 1) == (book.spent(TODAY).known_usd, book.spent(TODAY).unpriced)


def test_what_is_stored_is_that_of_others_but_for_what_this_process_has_written() -> None:
    book = line()
    book.add(Decimal(3), NOON_NS)
    book.unwritten.clear()  # it was written
    book.add(Decimal(5), NOON_NS)

    book.stored(TODAY, Spent(Decimal(10), 4, 1))

    assert (Decimal(8), Decimal(7)) == (book.own(TODAY).usd, book.others(TODAY).usd)
    assert Spent(Decimal(15), 5, 1) == book.spent(TODAY)


def test_calls_that_nobody_reserved_are_told_apart() -> None:
    book = line()
    book.add(Decimal(3), NOON_NS)
    book.add(Decimal(4), NOON_NS, is_guarded=True)

    assert (Decimal(3), Decimal(7)) == (book.unguarded_usd(TODAY), book.spent(TODAY).usd)


def test_a_budget_of_a_time_zone_has_its_days() -> None:
    book = line(timezone="Asia/Tokyo")
    book.add(Decimal(3), TODAY.start_ns + 14 * HOUR)
    book.add(Decimal(4), TODAY.start_ns + 15 * HOUR)

    assert Decimal(4) == book.spent(book.calendar.period(TODAY.start_ns + 16 * HOUR)).usd


def test_tells_of_each_share_once() -> None:
    book = line()
    book.add(Decimal(80), NOON_NS)
    events = alerts(book, NOON_NS)
    assert ["alert:0.5", "alert:0.8"] == keys(events)

    book.tell(TODAY, keys(events))
    assert [] == alerts(book, NOON_NS)
    book.add(Decimal(20), NOON_NS)
    assert [("alert:1", "critical")] == [(one.key, one.severity) for one in alerts(book, NOON_NS)]


def test_tells_again_in_the_next_period() -> None:
    book = line()
    book.add(Decimal(60), NOON_NS)
    book.tell(TODAY, keys(alerts(book, NOON_NS)))
    book.add(Decimal(60), TODAY.end_ns)

    assert ["alert:0.5"] == keys(alerts(book, TODAY.end_ns))


def test_tells_of_a_period_that_a_late_call_has_brought_over_a_share() -> None:
    book = line()
    book.add(Decimal(60), TODAY.start_ns - 1)

    (event,) = alerts(book, NOON_NS)
    assert YESTERDAY == event.period


def test_a_message_says_how_much_of_what_since_when_and_what_is_not_in_it() -> None:
    book = line(timezone="Europe/Berlin", alert_at=(0.5,))
    book.add(Decimal("64.2"), NOON_NS)
    book.add(None, NOON_NS)

    (event,) = alerts(book, NOON_NS)
    assert (
        "budget team: $64.20 of $100.00 spent (64%) since 2026-06-01 00:00 Europe/Berlin,"
        " without 1 unpriced calls"
    ) == event.message


def spend_evenly(book: BudgetLine, usd_per_hour: int, hours: int) -> None:
    for minute in range(hours * 60):
        book.add(Decimal(usd_per_hour) / 60, NOON_NS - hours * HOUR + minute * 60 * NS)


def test_warns_early_that_a_budget_runs_out() -> None:
    book = BudgetLine(Budget("team", limit=100), NOON_NS - 12 * HOUR)
    spend_evenly(book, 10, hours=4)

    event = early_warning(book, NOON_NS)

    assert event is not None
    assert event.message.endswith(
        "; at the current pace it runs out at 18:00, before the day ends at 24:00"
    )
    book.tell(TODAY, [event.key])
    assert early_warning(book, NOON_NS) is None


def test_an_early_warning_says_what_yesterday_lets_expect() -> None:
    book = BudgetLine(Budget("team", limit=100), NOON_NS - 36 * HOUR)
    spend_evenly(book, 10, hours=4)

    event = early_warning(book, NOON_NS)

    assert event is not None
    assert event.message.endswith("; at the pace of the last 24 hours it comes to $40.00")


@pytest.mark.parametrize(
    ("limit", "usd_per_hour", "hours"),
    [
        pytest.param(300, 10, 4, id="it lasts"),
        pytest.param(100, 10, 1, id="hardly anything is spent yet"),
        pytest.param(40, 10, 4, id="it has run out"),
        pytest.param(158, 10, 4, id="it runs out when the day is over anyway"),
    ],
)
def test_does_not_warn_where(limit: int, usd_per_hour: int, hours: int) -> None:
    book = BudgetLine(Budget("team", limit=limit), NOON_NS - 12 * HOUR)
    spend_evenly(book, usd_per_hour, hours)

    assert early_warning(book, NOON_NS) is None


def test_there_is_no_outlook_where_nothing_has_a_price() -> None:
    book = BudgetLine(Budget("team", limit=100), NOON_NS - 36 * HOUR)
    assert {"pace", "yesterday"} == set(book.outlooks(NOON_NS))

    book.add(None, NOON_NS)
    assert {} == book.outlooks(NOON_NS)


def test_tells_once_per_period_that_calls_are_stopped() -> None:
    book = line(stop_at=1.2)
    event = stopped(book, NOON_NS)

    assert event is not None
    assert ("stop", "critical") == (event.kind, event.severity)
    assert "calls are stopped at 120%: $0.0000 of $100.00" in event.message
    book.tell(TODAY, [event.key])
    assert stopped(book, NOON_NS) is None
    assert stopped(book, TODAY.end_ns) is not None


def test_periods_remembered_are_bounded() -> None:
    book = line()
    for day in range(200):
        book.add(Decimal(1), NOON_NS + day * 24 * HOUR)

    assert Decimal(0) == book.spent(TODAY).usd
    assert Decimal(1) == book.spent(book.calendar.period(NOON_NS + 199 * 24 * HOUR)).usd
