from decimal import Decimal
from typing import Any

import pytest

from tocsin.errors import ConfigError
from tocsin.guard.limits import StopLimits, find_too_low


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("120s", 120.0), ("2m", 120.0), ("1.5h", 5400.0), ("500ms", 0.5), (90, 90.0), ("90", 90.0)],
)
def test_latency_is_read_as_people_write_it(written: Any, seconds: float) -> None:
    assert seconds == StopLimits(max_latency=written).max_latency


@pytest.mark.parametrize("written", ["2.00 USD", "$2", "2 usd", 2, 2.0, Decimal(2), "2"])
def test_cost_is_read_as_people_write_it(written: Any) -> None:
    assert Decimal(2) == StopLimits(max_cost=written).max_cost


def test_nothing_is_limited_by_default() -> None:
    assert {} == StopLimits().limits


def test_limits_that_are_set_are_named_as_in_metrics() -> None:
    limits = StopLimits(max_tokens=5, max_latency="1s", same_tool_call=3)

    assert {"tokens": 5, "latency": 1.0, "same_tool_call": 3} == limits.limits


@pytest.mark.parametrize("name", ["max_tokens", "max_cost", "max_latency", "max_turns"])
@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        float("nan"),
        float("inf"),
        Decimal("sNaN"),
        True,
        "",
        "ten",
        "-1s",
        "5 EUR",
        [],
        1e400,
    ],
)
def test_impossible_limits_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        StopLimits(**{name: value})


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        StopLimits(max_tokens=0, max_cost="NaN", warn_at=1.5, on_failure="maybe", switch={"a": ""})

    for name in ("max_tokens", "max_cost", "warn_at", "on_failure", "switch"):
        assert f"{name}: " in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"switch": {"a": "b"}}, {"switch_at": 0.5}, {"warn_at": 0.9, "switch_at": 0.5, "switch": {}}],
)
def test_a_switch_needs_models_and_a_share(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="switch"):
        StopLimits(**settings)


@pytest.mark.parametrize("written", [0.8, "80%", "80 %", "80.0%"])
def test_shares_are_read_as_people_write_them(written: Any) -> None:
    assert 0.8 == StopLimits(max_tokens=1, warn_at=written).warn_at


STOPS_AND_LEVELS = [
    ({"w": {"cost": 1}}, {"w": {"cost": 2}}, [("w", "w", "cost", 1, 2)]),
    ({"w": {"cost": 2}}, {"w": {"cost": 2}}, []),
    ({"w": {"cost": 1}}, {"w": {"tokens": 2}}, []),
    ({"*": {"cost": 1}}, {"w": {"cost": 2}}, [("*", "w", "cost", 1, 2)]),
    ({"w": {"cost": 1}}, {"*": {"cost": 2}}, [("w", "w", "cost", 1, 2)]),
    ({"*": {"cost": 1}, "w": {}}, {"w": {"cost": 2}}, []),
    ({"w": {"cost": 1}}, {"*": {"cost": 2}, "w": {}}, []),
    ({"*": {"cost": 1}}, {"*": {"cost": 2}}, [("*", "*", "cost", 1, 2)]),
]


@pytest.mark.parametrize(("stops", "levels", "expected"), STOPS_AND_LEVELS)
def test_stops_below_the_level_that_holds_for_the_same_runs_are_found(
    stops: Any, levels: Any, expected: list[Any]
) -> None:
    assert expected == list(find_too_low(stops, levels))
