# ruff: noqa: RUF001 - the dash is what is tested
import pytest

from tocsin.model.amounts import at_least, count, duration, money, share


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        ("–", None),
        ("0 ms", 0.0),
        ("830 ms", 0.83),
        ("999 ms", 0.9994),
        ("1.0 s", 0.9996),
        ("12.4 s", 12.41),
        ("99.9 s", 99.94),
        ("100 s", 99.96),
        ("999 s", 999.4),
        ("30 min", 1800),
    ],
)
def test_duration(expected: str, seconds: float | None) -> None:
    assert expected == duration(seconds)


@pytest.mark.parametrize(
    ("expected", "number"),
    [
        ("–", None),
        ("0", 0),
        ("999", 999),
        ("1.0k", 1000),
        ("8.1k", 8123),
        ("99.9k", 99_940),
        ("100k", 99_950),
        ("999k", 999_499),
        ("1.0M", 999_500),
    ],
)
def test_count(expected: str, number: float | None) -> None:
    assert expected == count(number)


@pytest.mark.parametrize(
    ("expected", "usd"),
    [
        ("–", None),
        ("$0", 0),
        ("$0.0042", 0.0042),
        ("$0.010", 0.00999),
        ("$0.034", 0.0341),
        ("$1.00", 0.9996),
        ("$12.35", 12.345001),
        ("$1,234", 1234.4),
    ],
)
def test_money(expected: str, usd: float | None) -> None:
    assert expected == money(usd)


@pytest.mark.parametrize(
    ("expected", "ratio"), [("–", None), ("0 %", 0.0), ("4.2 %", 0.0421), ("100 %", 1.0)]
)
def test_share(expected: str, ratio: float | None) -> None:
    assert expected == share(ratio)


@pytest.mark.parametrize(
    ("expected", "text", "partial"),
    [("$1", "$1", False), ("$1+", "$1", True), ("–", "–", True)],
)
def test_at_least(expected: str, text: str, partial: bool) -> None:
    assert expected == at_least(text, partial=partial)
