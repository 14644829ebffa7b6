import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS, NS
from tocsin.errors import QueryError
from tocsin.model.moment import MAX_NS, parse_duration, parse_time, write_time


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (NOON_NS, "2026-06-01T12:00:00Z"),
        (NOON_NS, "2026-06-01t12:00:00z"),
        (NOON_NS + NS // 4, "2026-06-01T12:00:00.25Z"),
        (NOON_NS + 1, "2026-06-01T12:00:00.000000001Z"),
        (NOON_NS, "2026-06-01T14:00:00+02:00"),
        (NOON_NS, "2026-06-01T14:00:00 02:00"),
        (NOON_NS, "2026-06-01T08:30:00-03:30"),
        (NOON_NS, str(NOON_NS // NS)),
        (NOON_NS + NS // 2, f"{NOON_NS // NS}.5"),
        (0, "0"),
    ],
)
def test_times(expected: int, text: str) -> None:
    assert expected == parse_time(text)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-06-01", "2026-06-01T12:00:00", "2026-13-01T12:00:00Z", "-1", "1e9"]
)
def test_no_times(text: str) -> None:
    with pytest.raises(QueryError, match="is not a time; write 2026-06-01T12:00:00Z"):
        parse_time(text)


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59Z", "2120-01-01T00:00:00Z", "9" * 12])
def test_times_beyond_what_is_stored(text: str) -> None:
    with pytest.raises(QueryError, match="between the years 1970 and 2116"):
        parse_time(text)


@given(st.integers(0, MAX_NS - 1))
def test_what_is_written_is_read_back(time_ns: int) -> None:
    assert time_ns == parse_time(write_time(time_ns))


def test_written_without_needless_zeros() -> None:
    assert "2026-06-01T12:00:00Z" == write_time(NOON_NS)
    assert "2026-06-01T12:00:00.05Z" == write_time(NOON_NS + NS // 20)


@pytest.mark.parametrize(
    ("expected_s", "text"),
    [(0.25, "250ms"), (90, "90"), (1.5, "1.5s"), (300, "5m"), (5400, "1h30m"), (604_800, "7d")],
)
def test_durations(expected_s: float, text: str) -> None:
    assert int(expected_s * NS) == parse_duration(text)


@pytest.mark.parametrize("text", ["", "0", "0s", "5 min", "-1h", "1y", "h", "1h30", "9" * 12 + "w"])
def test_no_durations(text: str) -> None:
    with pytest.raises(QueryError, match="is not a duration; write 30s, 5m, 1h30m or 7d"):
        parse_duration(text)
