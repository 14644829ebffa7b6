from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NS
from tocsin.runs.spend import DailySpend

ONE = Decimal(1)


def at(day: int, hour: float = 12) -> int:
    midnight = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=day - 1)
    return int((midnight + timedelta(hours=hour)).timestamp()) * NS


def test_nothing_was_spent_before_the_first_cost() -> None:
    assert Decimal(0) == DailySpend().today(at(1))


def test_costs_add_up_exactly() -> None:
    spend = DailySpend()
    for _ in range(1000):
        spend.add(Decimal("0.0001"), at(1))

    assert Decimal("0.1") == spend.today(at(1))


def test_midnight_starts_again() -> None:
    spend = DailySpend()
    spend.add(ONE, at(1, 23.99))
    spend.add(2 * ONE, at(2, 0))

    assert (2 * ONE, Decimal(0)) == (spend.today(at(2, 0)), spend.today(at(3)))


def test_late_cost_counts_for_its_own_day() -> None:
    spend = DailySpend()
    spend.add(ONE, at(2, 0.5))
    spend.add(5 * ONE, at(1, 23.5))

    assert ONE == spend.today(at(2, 1))


def test_midnight_is_that_of_the_zone() -> None:
    spend = DailySpend(timezone(timedelta(hours=2)))
    spend.add(ONE, at(1, 22.5))  # 00:30 of day 2 there

    assert (ONE, Decimal(0)) == (spend.today(at(1, 23)), spend.today(at(1, 21)))


def test_clock_that_jumps_and_comes_back_resets_nothing() -> None:
    spend = DailySpend()
    spend.add(ONE, at(20))
    for jump_to in (at(19, 23), at(3), at(25), at(400)):
        spend.today(jump_to)

    assert ONE == spend.today(at(20, 13))


def test_clock_that_jumps_back_an_hour_doubles_nothing() -> None:
    spend = DailySpend()
    spend.add(ONE, at(2, 0.5))
    spend.add(ONE, at(1, 23.5))
    spend.add(ONE, at(2, 0.5))

    assert 2 * ONE == spend.today(at(2, 1))


def test_old_days_are_forgotten() -> None:
    spend = DailySpend()
    for day in range(5_000):
        spend.add(ONE, at(day))
        spend.today(at(day))

    assert len(spend._days) <= 100


def test_days_are_forgotten_though_nobody_asks_for_today() -> None:
    spend = DailySpend()
    for day in range(5_000):
        spend.add(ONE, at(day))

    assert len(spend._days) <= 100


costs = st.lists(
    st.tuples(st.decimals(0, 1000, places=6), st.integers(1, 5), st.integers(0, 23)), max_size=30
)


@given(costs, st.integers(1, 5))
def test_today_is_the_sum_of_what_arose_today(
    found: list[tuple[Decimal, int, int]], today: int
) -> None:
    spend = DailySpend()
    for cost, day, hour in found:
        spend.add(cost, at(day, hour))

    expected = sum((cost for cost, day, _ in found if day == today), Decimal(0))
    assert expected == spend.today(at(today))


def test_what_only_calls_without_a_price_cost_is_unknown() -> None:
    spend = DailySpend()
    spend.add(None, at(1))
    assert spend.today(at(1)) is None

    spend.add(Decimal(3), at(1))
    spend.add(None, at(1))
    assert Decimal(3) == spend.today(at(1))
