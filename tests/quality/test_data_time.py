import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import ConfigError
from tocsin.quality.data_time import DataTime, parse_time_ns

NOON_NS = 1_780_315_200 * 10**9
"""2026-06-01 12:00 UTC."""


@pytest.mark.parametrize(
    "value",
    [
        *("2026-06-01T12:00:00Z", "2026-06-01T14:00:00+02:00", "2026-06-01 12:00:00"),
        *("Mon, 01 Jun 2026 12:00:00 GMT", " 1780315200 ", "1780315200.0"),
        *(1_780_315_200, 1_780_315_200.0, 1_780_315_200_000),
        *(1_780_315_200_000_000, 1_780_315_200_000_000_000),
    ],
)
def test_reads_the_usual_notations(value: object) -> None:
    assert NOON_NS == parse_time_ns(value)


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, float("nan"), float("inf"), "", "soon", [], {}, "9" * 400, 1e300]
)
def test_what_is_no_time_is_unknown(value: object) -> None:
    assert parse_time_ns(value) is None


@pytest.mark.parametrize(
    ("place", "output"),
    [
        ("$.as_of", '{"as_of": 1780315200}'),
        ("$['as of']", '{"as of": 1780315200}'),
        ("$.rows[1].at", '{"rows": [{}, {"at": 1780315200}]}'),
        ("$.rows[-1].at", '{"rows": [{}, {"at": 1780315200}]}'),
        ("$.rows[*].at", '{"rows": [{"at": 1780315200}, {"at": 1780000000}, {}]}'),
        ("$.*.at", '{"a": {"at": 1780315200}}'),
        ("$", "1780315200"),
        (r"as of (\S+)", "Prices as of 2026-06-01T12:00:00Z !"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "old 2026-01-01 00:00, new 2026-06-01 12:00"),
    ],
)
def test_finds_the_newest_time_at_a_place(place: str, output: str) -> None:
    assert NOON_NS == DataTime(place)(output)


@pytest.mark.parametrize(
    ("place", "output"),
    [
        ("$.as_of", "not json"),
        ("$.as_of", '{"as_of": null}'),
        ("$.as_of", "[1]"),
        ("$[3]", "[1]"),
        ("$[-3]", "[1]"),
        ("$.a[*]", '{"a": 1}'),
        (r"as of (\S+)", "no date"),
        (r"(\d+)?x", "x"),
        ("$", "[" * 100_000),
        ("$", "1" * 1_000_001),
    ],
)
def test_output_without_a_time_is_undated(place: str, output: str) -> None:
    assert DataTime(place)(output) is None


@pytest.mark.parametrize("place", ["$.a[", "$a", "$.a[?(@.b)]", "$..a", "("])
def test_other_places_are_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="is not a"):
        DataTime(place)


@given(st.text())
def test_any_output_is_read_without_harm(output: str) -> None:
    for place in ("$.a[*].b", r"(\S+)"):
        found = DataTime(place)(output)
        assert found is None or found > 0
