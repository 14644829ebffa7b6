from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.guard.timeline import Left, Timeline, at_pace, like_yesterday

NS = 1_000_000_000
HOUR = 3600 * NS
DAY = 24 * HOUR
NOON = 20_000 * DAY + 12 * HOUR
LIMIT = Decimal(50)


def steady(usd_per_hour: str, hours: int, slot_s: int = 900) -> Timeline:
    """Spends evenly until noon."""
    timeline = Timeline(slot_s, NOON - hours * HOUR)
    for minute in range(hours * 60):
        timeline.add(Decimal(usd_per_hour) / 60, NOON - (minute + 1) * 60 * NS)
    return timeline


def left(spent: str, until_ns: int = NOON + 12 * HOUR) -> Left:
    return Left(Decimal(spent), LIMIT, NOON, until_ns)


def test_says_when_the_limit_is_reached_at_the_current_pace() -> None:
    outlook = at_pace(steady("5", hours=2), "day", left("30"))

    assert outlook is not None
    assert NOON + 4 * HOUR == pytest.approx(outlook.runs_out_ns, abs=NS)
    assert 90 == pytest.approx(outlook.total_usd)


def test_a_limit_that_lasts_does_not_run_out() -> None:
    outlook = at_pace(steady("1", hours=2), "day", left("30"))

    assert outlook is not None
    assert outlook.runs_out_ns is None
    assert 42 == pytest.approx(outlook.total_usd)


def test_the_pace_is_that_of_the_last_hour() -> None:
    timeline = steady("100", hours=5)
    timeline.replace({k: v for k, v in timeline._slots.items() if k < NOON // NS - 3600}, 0)

    outlook = at_pace(timeline, "day", left("30"))

    assert outlook is not None
    assert 30 == outlook.total_usd


def test_what_is_spent_in_the_slot_that_goes_on_counts_wholly() -> None:
    timeline = Timeline(900, NOON - 2 * HOUR)
    timeline.add(Decimal(5), NOON + 59 * NS)

    outlook = at_pace(timeline, "day", Left(Decimal(5), LIMIT, NOON + 60 * NS, NOON + HOUR))

    assert outlook is not None
    assert Decimal(5) + Decimal(5) * 59 / 60 == pytest.approx(outlook.total_usd)


@pytest.mark.parametrize(("per", "minutes"), [("hour", 2), ("day", 14), ("month", 300)])
def test_the_pace_is_unknown_until_a_quarter_of_its_window_was_seen(per: str, minutes: int) -> None:
    timeline = Timeline(60, NOON - minutes * 60 * NS)
    timeline.add(Decimal(1), NOON - 1)

    assert at_pace(timeline, per, left("1")) is None


def test_nothing_spent_for_a_while_is_a_pace_of_zero_and_not_unknown() -> None:
    outlook = at_pace(Timeline(900, NOON - 2 * HOUR), "day", left("30"))

    assert outlook is not None
    assert (Decimal(30), None) == (outlook.total_usd, outlook.runs_out_ns)


def test_a_limit_that_is_reached_has_run_out_now() -> None:
    timeline = steady("1", hours=48)

    for outlook in (at_pace(timeline, "day", left("51")), like_yesterday(timeline, left("51"))):
        assert outlook is not None
        assert NOON == outlook.runs_out_ns


def test_yesterday_is_unknown_until_a_whole_day_was_seen() -> None:
    assert like_yesterday(steady("1", hours=23), left("1")) is None


def test_goes_on_as_in_the_same_hours_yesterday() -> None:
    timeline = Timeline(900, NOON - 2 * DAY)
    timeline.add(Decimal(30), NOON - DAY + 4 * HOUR)  # at 16:00 yesterday
    timeline.add(Decimal(10), NOON - 4 * HOUR)  # this morning: not again before midnight

    outlook = like_yesterday(timeline, left("25"))

    assert outlook is not None
    assert Decimal(55) == outlook.total_usd
    assert outlook.runs_out_ns is not None
    assert NOON + 4 * HOUR < outlook.runs_out_ns <= NOON + 4 * HOUR + 900 * NS


def test_a_month_goes_on_in_days_like_the_last() -> None:
    outlook = like_yesterday(steady("0.5", hours=48), left("2", NOON + 10 * DAY))

    assert outlook is not None
    assert 122 == pytest.approx(outlook.total_usd)
    assert NOON + 4 * DAY == pytest.approx(outlook.runs_out_ns, abs=900 * NS)


@given(
    st.lists(st.tuples(st.integers(0, DAY - 1), st.integers(1, 100)), min_size=1),
    st.integers(1, 200),
    st.integers(1, 40 * 24),
)
def test_money_runs_out_in_the_first_slot_in_which_it_would(
    spending: list[tuple[int, int]], left_usd: int, hours: int
) -> None:
    timeline = Timeline(900, NOON - DAY)
    for ago_ns, usd in spending:
        timeline.add(Decimal(usd), NOON - 1 - ago_ns)

    found = like_yesterday(timeline, Left(Decimal(0), Decimal(left_usd), NOON, NOON + hours * HOUR))

    spent, expected = Decimal(0), None
    for step in range(hours * 4):
        since = NOON - DAY + step * 900 * NS % DAY
        spent += timeline.spent(since, since + 900 * NS)
        if expected is None and spent >= left_usd:
            expected = NOON + (step + 1) * 900 * NS
    assert found is not None
    assert spent == found.total_usd
    assert expected == found.runs_out_ns


def test_memory_is_two_days() -> None:
    timeline = Timeline(900, 0)
    for slot in range(1_000):
        timeline.add(Decimal(1), slot * 900 * NS)

    assert 192 == timeline.spent(0, 2_000 * 900 * NS)
