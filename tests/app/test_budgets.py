"""Budgets between spans, guards, accounts and whoever is told, on a clock that is set by hand."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.spans import span
from tocsin.app import budgets as budgets_module
from tocsin.app.budgets import Budgets
from tocsin.app.tariff import Tariff
from tocsin.errors import ConfigError
from tocsin.guard.account import Amount, Hold, Ledger, Need, Shortage
from tocsin.guard.budget_events import BudgetEvent
from tocsin.guard.budgets import Budget, Work
from tocsin.meters import catalogue as m
from tocsin.model.span import Cost, ErrorClass, Kind, Observation, Usage
from tocsin.pricing.catalogue import PriceBook

ZERO = Decimal(0)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Guards of other tests must not find the budgets of these, which nobody closes."""
    yield
    budgets_module._open.clear()


class Till:
    """Budgets, and what they have told."""

    def __init__(self, *budgets: Budget) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger()
        self.told: list[BudgetEvent] = []
        tariff = Tariff(PriceBook())
        self.budgets = Budgets(tariff, self.ledger, self.told.append, clock=self.clock)
        self.budgets.add(budgets)

    def call(self, usd: str | None, *, ago_s: float = 0.0, **facts: Any) -> None:
        """A call that a span tells of."""
        ended_ns = self.clock.wall_ns() - int(ago_s * 1e9)
        found = {"usage": Usage(10, 5), "error": None} | facts.pop("fields", {})
        cost = None if usd is None else Cost(Decimal(usd), ZERO, ZERO, ZERO)
        one = span(Kind.LLM, "s", started_ns=ended_ns, ended_ns=ended_ns, **found)
        self.budgets.span_ended(Observation(span=one, workflow="w", cost=cost, **facts))

    def tick(self) -> None:
        self.budgets.hurry()
        self.budgets.tick()

    def reserve(self, usd: str) -> Hold | Shortage | None:
        purse = self.budgets.purse("w", None)
        assert purse is not None
        amount = Amount(10, Decimal(usd))
        return self.ledger.reserve(purse.accounts("m", "A"), Need(amount, amount))

    def shown(self, metric: Any) -> Mapping[tuple[str, ...], Any]:
        return {
            labels: value
            for (found, labels), value in self.budgets.readings().items()
            if found is metric
        }


def test_shows_the_current_period_and_0_when_a_new_one_begins() -> None:
    till = Till(Budget("team", limit=50))
    till.call("3")
    assert {("team",): Decimal(3)} == till.shown(m.BUDGET_SPENT)

    till.clock.advance(12 * 3600)
    till.call("2", ago_s=60)  # late, of the day before
    assert {("team",): ZERO} == till.shown(m.BUDGET_SPENT)
    assert {("team",): Decimal(50)} == till.shown(m.BUDGET_LIMIT)


def test_nothing_is_shown_where_nothing_is_known() -> None:
    till = Till(Budget("team", limit=50))
    till.call(None)

    assert {("team",): None} == till.shown(m.BUDGET_SPENT)
    assert {("team",): 1} == till.shown(m.BUDGET_UNPRICED)
    assert {None} == set(till.shown(m.BUDGET_FORECAST).values())


@pytest.mark.parametrize(
    ("usage", "error", "unpriced"),
    [
        (Usage(10, 5), None, 1),
        (None, None, 1),
        (None, ErrorClass.CANCELLED, 1),  # it used tokens that it does not report
        (None, ErrorClass.RATE_LIMIT, 0),
        (None, ErrorClass.BAD_REQUEST, 0),
    ],
)
def test_calls_that_failed_are_no_calls_of_unknown_cost(
    usage: Usage | None, error: ErrorClass | None, unpriced: int
) -> None:
    till = Till(Budget("team", limit=50))
    till.call(None, fields={"usage": usage, "error": error})

    assert {("team",): unpriced} == till.shown(m.BUDGET_UNPRICED)


def test_an_account_adds_calls_that_nobody_reserved_to_those_it_has_settled() -> None:
    till = Till(Budget("team", limit=1, stop_at=1))
    held = till.reserve("0.5")
    assert isinstance(held, Hold)
    till.ledger.settle(held, Amount(10, Decimal("0.5")))
    till.call("0.5", is_guarded=True)
    till.call("0.25")
    till.tick()

    assert isinstance(till.reserve("0.25"), Hold)
    assert isinstance(till.reserve("0.01"), Shortage)


def test_reports_of_guards_count_and_their_accounts_know_them_already() -> None:
    till = Till(Budget("team", limit=1, stop_at=1))
    till.budgets.report(Work("w", "m"), Decimal("0.5"), is_guarded=True)
    till.tick()

    assert {("team",): Decimal("0.5")} == till.shown(m.BUDGET_SPENT)
    assert isinstance(till.reserve("1"), Hold)


def test_guards_may_give_numbers_as_tags_and_others_are_not_kept() -> None:
    till = Till(Budget("seat", limit=1, stop_at=1, tags={"seat": 7}))
    purse = till.budgets.purse("w", {"seat": 7, "secret": "s3cret"})  # type: ignore[dict-item]

    assert purse is not None
    assert {"seat": "7"} == purse.tags
    assert not purse.is_empty


def test_tells_once_of_many_runs_that_are_refused() -> None:
    till = Till(Budget("team", limit=1, stop_at=1, alert_at=()))
    for _ in range(3):
        till.budgets.refused("team")
        till.tick()
    till.clock.advance(24 * 3600)
    till.budgets.refused("team")
    till.tick()

    assert ["stop", "stop"] == [event.key for event in till.told]
    assert {("team", "stop"): 2, ("team", "forecast"): 0} == till.shown(m.BUDGET_EVENTS)


def test_looks_ahead_without_any_calls() -> None:
    till = Till(Budget("team", limit=100))
    till.clock.advance(3600)
    for minute in range(60):
        till.call("1", ago_s=60 * minute)
    till.tick()

    (event,) = [event for event in till.told if event.kind == "forecast"]
    assert "at the current pace it runs out at 13:40, before the day ends at 24:00" in event.message
    assert Decimal(720) == pytest.approx(till.shown(m.BUDGET_FORECAST)["team", "pace"])


def test_a_budget_of_the_same_name_takes_the_place_of_the_first() -> None:
    till = Till(Budget("team", limit=1, stop_at=1))
    till.budgets.add([Budget("team", limit=5)])

    assert {("team",): Decimal(5)} == till.shown(m.BUDGET_LIMIT)
    assert isinstance(till.reserve("100"), Hold)


def test_another_limit_keeps_what_was_spent_and_what_is_held() -> None:
    till = Till(Budget("team", limit=1, stop_at=1))
    held = till.reserve("0.5")
    assert isinstance(held, Hold)
    till.call("0.25")
    till.tick()
    till.budgets.add([Budget("team", limit=2, stop_at=1)])

    assert isinstance(till.reserve("1.26"), Shortage)
    till.ledger.settle(held, Amount(10, Decimal("0.75")))
    assert isinstance(till.reserve("1.01"), Shortage)
    assert isinstance(till.reserve("1"), Hold)
    assert {("team",): Decimal("0.25")} == till.shown(m.BUDGET_SPENT)


def test_another_scope_begins_with_nothing() -> None:
    till = Till(Budget("team", limit=1, stop_at=1))
    till.call("1")
    till.tick()
    till.budgets.add([Budget("team", limit=1, stop_at=1, workflow="w")])

    assert {("team",): ZERO} == till.shown(m.BUDGET_SPENT)
    assert isinstance(till.reserve("1"), Hold)


def test_what_is_no_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is not a tocsin\.Budget"):
        Till({"name": "team"})  # type: ignore[arg-type]


def test_a_forked_child_begins_with_nothing_spent_of_its_own() -> None:
    till = Till(Budget("team", limit=1, stop_at=1))
    till.call("1")
    till.tick()
    till.budgets.reset_after_fork()

    assert {("team",): ZERO} == till.shown(m.BUDGET_SPENT)
    assert isinstance(till.reserve("1"), Hold)


def test_a_room_of_a_server_takes_the_place_of_the_limit() -> None:
    class Closed:
        def granted_usd(self, period: object) -> Decimal:
            return ZERO

        def ask(self, period: object, total_usd: Decimal) -> bool:
            return False

        def used(self, period: object, spent_usd: Decimal, held_usd: Decimal) -> None:
            pass

    till = Till()
    till.budgets.add([Budget("team", limit=1, stop_at=1)], {"team": Closed()})

    assert isinstance(till.reserve("0.01"), Shortage)
