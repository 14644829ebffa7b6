from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tocsin.errors import ConfigError
from tocsin.guard.budgets import Budget, Work, check_budgets

WORK = Work("support", "gpt-4.1", "triage", {"customer": "acme", "plan": "free"})


@pytest.mark.parametrize("written", ["50 USD", "$50", "50", 50, 50.0, Decimal(50)])
def test_a_limit_is_read_as_people_write_it(written: Any) -> None:
    assert Decimal(50) == Budget("team", limit=written).limit


def test_shares_are_read_as_people_write_them() -> None:
    budget = Budget("team", limit=50, alert_at=("80%", 0.5, "1", Decimal("0.50")), stop_at="120%")

    assert (Decimal("0.5"), Decimal("0.8"), Decimal(1)) == budget.alert_at
    assert Decimal(60) == budget.stop_usd


def test_a_day_in_utc_with_three_alerts_and_no_stop_is_what_is_not_said() -> None:
    budget = Budget("team", limit=50)

    assert ("day", "UTC", None) == (budget.per, budget.timezone, budget.stop_usd)
    assert (Decimal("0.5"), Decimal("0.8"), Decimal(1)) == budget.alert_at


def test_alerts_that_nobody_wrote_end_where_calls_are_stopped() -> None:
    assert (Decimal("0.5"), Decimal("0.8")) == Budget("team", limit=50, stop_at=0.9).alert_at


def test_a_checked_budget_can_be_checked_again() -> None:
    budget = Budget("team", limit="50 USD", stop_at=0.9, model="m", tags={"customer": 7})

    assert budget == replace(budget)


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"workflow": "support"},
        {"workflow": ["billing", "support"]},
        {"model": "gpt-4.1", "agent": "triage"},
        {"tags": {"customer": "acme"}},
        {"tags": {"customer": "acme", "plan": "free"}},
    ],
)
def test_counts_calls_that_fit_everything_given(scope: dict[str, Any]) -> None:
    assert Budget("team", limit=50, **scope).covers(WORK)


@pytest.mark.parametrize(
    "scope",
    [
        {"workflow": "billing"},
        {"model": "gpt-4.1-mini"},
        {"agent": ["refund", "search"]},
        {"tags": {"customer": "other"}},
        {"tags": {"customer": "acme", "region": "eu"}},
        {"workflow": "support", "agent": "refund"},
    ],
)
def test_leaves_out_calls_that_fit_only_in_part(scope: dict[str, Any]) -> None:
    assert not Budget("team", limit=50, **scope).covers(WORK)


def test_tags_may_be_numbers() -> None:
    assert Budget("team", limit=1, tags={"customer": 7}).covers(Work("w", tags={"customer": "7"}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "two\nlines"),
        ("name", None),
        ("limit", 0),
        ("limit", -1),
        ("limit", "5 EUR"),
        ("limit", float("nan")),
        ("per", "week"),
        ("per", None),
        ("timezone", "Mars/Olympus"),
        ("timezone", ""),
        ("timezone", "../../etc/passwd"),
        ("timezone", "America"),
        ("timezone", None),
        ("workflow", ""),
        ("workflow", []),
        ("model", ["m", None]),
        ("agent", 5),
        ("tags", {"customer": None}),
        ("tags", {"customer": True}),
        ("tags", {"": "acme"}),
        ("tags", "customer=acme"),
        ("alert_at", (0.5, 0)),
        ("alert_at", (80,)),
        ("alert_at", "50%"),
        ("alert_at", ("half",)),
        ("stop_at", 0),
        ("stop_at", 120),
        ("stop_at", True),
        ("on_failure", "maybe"),
    ],
)
def test_impossible_values_are_refused(field: str, value: Any) -> None:
    arguments: dict[str, Any] = {"name": "team", "limit": 50} | {field: value}
    with pytest.raises(ConfigError, match=field):
        Budget(**arguments)


def test_a_stop_below_an_alert_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"alert_at: 80% is never reached.*at 70%"):
        Budget("team", limit=50, alert_at=(0.5, 0.8), stop_at=0.7)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Budget("", limit=0, per="week", timezone="x", model=[], tags={"a": []}, stop_at=0)

    for field in ("name", "limit", "per", "timezone", "model", "tags", "stop_at"):
        assert f"{field}:" in str(caught.value)


@pytest.mark.parametrize("budgets", [Budget("team", limit=1), "team", None, {"team": 1}])
def test_budgets_are_a_list(budgets: object) -> None:
    with pytest.raises(ConfigError, match="is not a list"):
        check_budgets(budgets)


def test_names_are_unique() -> None:
    budgets = [Budget("team", limit=1), Budget("team", limit=2), {"name": "x"}]

    with pytest.raises(ConfigError, match=r"is not a tocsin.Budget.*two named 'team'"):
        check_budgets(budgets)
