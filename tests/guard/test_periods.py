from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.guard.periods import PERIODS, Calendar, Period, zone_of

NS = 1_000_000_000
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",  # half an hour off
    "Asia/Kathmandu",  # three quarters
    "Australia/Lord_Howe",  # summer time is half an hour
    "Africa/Cairo",  # clocks change at midnight
    "America/Havana",  # clocks go back to midnight
    "America/St_Johns",  # clocks went back at 0:01, into the day before
    "Pacific/Apia",  # a date was left out
    "Antarctica/Troll",  # two hours of summer time
    "America/Sao_Paulo",
]
MOMENTS = st.integers(10_000_000, 4_000_000_000)


def ns(zone: str, *when: int, fold: int = 0) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * NS  # type: ignore[misc,arg-type]


def period(per: str, zone: str, at_ns: int) -> Period:
    return Calendar(per, ZoneInfo(zone)).period(at_ns)


def hours(found: Period) -> float:
    return (found.end_ns - found.start_ns) / NS / 3600


@given(MOMENTS, st.sampled_from(PERIODS), st.sampled_from(ZONES))
def test_periods_tile_time(at_s: int, per: str, zone: str) -> None:
    calendar = Calendar(per, ZoneInfo(zone))
    found = calendar.period(at_s * NS)

    assert at_s * NS in found
    assert found == calendar.period(found.start_ns)
    assert found == calendar.period(found.end_ns - 1)
    assert found.end_ns == calendar.period(found.end_ns).start_ns
    assert found.start_ns == calendar.period(found.start_ns - 1).end_ns


@given(MOMENTS, st.sampled_from(PERIODS), st.sampled_from(ZONES))
def test_a_period_is_the_same_from_wherever_it_is_looked_at(at_s: int, per: str, zone: str) -> None:
    found = period(per, zone, at_s * NS)

    for share in range(4):
        inside_ns = found.start_ns + (found.end_ns - found.start_ns) * share // 4
        assert found == period(per, zone, inside_ns)


@given(MOMENTS, st.sampled_from(ZONES))
def test_days_begin_where_the_date_changes(at_s: int, zone: str) -> None:
    found = period("day", zone, at_s * NS)

    begins = datetime.fromtimestamp(found.start_ns // NS, ZoneInfo(zone))
    before = datetime.fromtimestamp(found.start_ns // NS - 1, ZoneInfo(zone))
    assert before.date() < begins.date()


@given(MOMENTS, st.sampled_from(ZONES))
def test_months_begin_with_their_first_day(at_s: int, zone: str) -> None:
    found = period("month", zone, at_s * NS)

    assert found.start_ns == period("day", zone, found.start_ns).start_ns
    assert 1 == datetime.fromtimestamp(found.start_ns // NS, ZoneInfo(zone)).day
    assert 27.9 * 24 < hours(found) < 31.1 * 24


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Europe/Berlin", (2026, 10, 25), 25),
        ("Europe/Berlin", (2026, 6, 1), 24),
        ("America/New_York", (2026, 11, 1), 25),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
        ("Africa/Cairo", (2026, 4, 24), 23),
        ("Antarctica/Troll", (2026, 3, 29), 22),
    ],
)
def test_days_are_as_long_as_clocks_make_them(
    zone: str, day: tuple[int, int, int], length: float
) -> None:
    assert length == hours(period("day", zone, ns(zone, *day, 12)))


def test_a_day_without_midnight_begins_when_clocks_are_set_forward() -> None:
    found = period("day", "Africa/Cairo", ns("Africa/Cairo", 2026, 4, 24, 12))

    begins = datetime.fromtimestamp(found.start_ns // NS, ZoneInfo("Africa/Cairo"))
    assert (24, 1, 0) == (begins.day, begins.hour, begins.minute)


def test_a_day_that_a_zone_left_out_does_not_exist() -> None:
    last = period("day", "Pacific/Apia", ns("Pacific/Apia", 2011, 12, 29, 12))
    next_one = period("day", "Pacific/Apia", last.end_ns)

    assert ns("Pacific/Apia", 2011, 12, 31) == next_one.start_ns
    assert (24, 24) == (hours(last), hours(next_one))


def test_the_hour_that_happens_twice_is_two() -> None:
    zone = "Europe/Berlin"
    first = period("hour", zone, ns(zone, 2026, 10, 25, 2, 30))
    second = period("hour", zone, ns(zone, 2026, 10, 25, 2, 30, fold=1))

    assert (1, 1) == (hours(first), hours(second))
    assert first.end_ns == second.start_ns


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu"])
def test_hours_are_full_on_the_zones_own_clock(zone: str) -> None:
    found = period("hour", zone, ns(zone, 2026, 6, 1, 9, 59))

    assert (ns(zone, 2026, 6, 1, 9), 1) == (found.start_ns, hours(found))


def test_a_change_by_half_an_hour_leaves_a_short_hour() -> None:
    zone = "Australia/Lord_Howe"  # 2:00 becomes 2:30 in October, and 1:30 in April
    forward = period("hour", zone, ns(zone, 2026, 10, 4, 2, 45))
    back = period("hour", zone, ns(zone, 2026, 4, 5, 1, 45, fold=1))

    assert (0.5, 0.5) == (hours(forward), hours(back))
    assert 1 == hours(period("hour", zone, back.end_ns))


def test_months_follow_the_calendar() -> None:
    found = period("month", "UTC", ns("UTC", 2028, 2, 15))

    assert (ns("UTC", 2028, 2, 1), ns("UTC", 2028, 3, 1)) == found


@pytest.mark.parametrize("at_ns", [-NS, 10**30])
def test_times_that_cannot_be_are_in_some_period(at_ns: int) -> None:
    assert 0 < hours(Calendar("day", UTC).period(at_ns))


def test_utc_needs_no_time_zones_of_the_system() -> None:
    assert UTC is zone_of("UTC")
    assert timedelta(0) == UTC.utcoffset(None)
