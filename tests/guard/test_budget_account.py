from datetime import UTC
from decimal import Decimal

import pytest

from tests.fakes.clock import NOON_NS, ManualClock
from tocsin.guard.account import Amount, Hold, Ledger, LimitedAccount, Need, Shortage
from tocsin.guard.budget_account import BudgetAccount, BudgetRoom, OwnRoom
from tocsin.guard.budgets import Budget
from tocsin.guard.periods import Calendar, Period

TODAY = Calendar("day", UTC).period(NOON_NS)


def need(usd: str, likely: str | None = None, doubt: float = 1.0) -> Need:
    return Need(Amount(10, Decimal(usd), 1), Amount(10, Decimal(likely or usd), 1), doubt)


class Till:
    """One budget of $1.00 a day, and what is done with it."""

    def __init__(self, room: BudgetRoom | None = None, **options: object) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger()
        budget = Budget("team", limit="1 USD", stop_at=1, **options)  # type: ignore[arg-type]
        self.room = room or OwnRoom(Decimal(1))
        self.account = BudgetAccount(budget, self.room, self.clock)

    def reserve(self, usd: str, *, alone: bool = False) -> Hold | Shortage | None:
        return self.ledger.reserve([self.account], need(usd), alone=alone)

    def hold(self, usd: str) -> Hold:
        held = self.reserve(usd)
        assert isinstance(held, Hold)
        return held

    def spend(self, usd: str) -> None:
        self.ledger.settle(self.hold(usd), Amount(10, Decimal(usd), 1))


def test_refuses_what_is_more_than_is_left_and_names_the_budget() -> None:
    till = Till()
    till.spend("0.75")

    assert Shortage("team", "budget:team", 1.25, 1.0) == till.reserve("0.5")
    assert isinstance(till.reserve("0.25"), Hold)


def test_what_calls_in_flight_hold_is_not_left() -> None:
    till = Till()
    held = till.hold("0.75")

    assert isinstance(till.reserve("0.5"), Shortage)
    till.ledger.release(held)
    assert isinstance(till.reserve("0.5"), Hold)


def test_a_call_that_a_run_has_no_room_for_takes_nothing_from_the_budget() -> None:
    till, run = Till(), LimitedAccount("run", tokens=1)

    assert isinstance(till.ledger.reserve([till.account, run], need("0.5")), Shortage)
    assert 0 == till.account.held_usd


def test_the_next_period_begins_with_nothing_spent() -> None:
    till = Till()
    till.spend("1")
    till.clock.advance(12 * 3600)

    assert isinstance(till.reserve("1"), Hold)


def test_a_clock_that_is_set_back_over_midnight_gives_nothing_back() -> None:
    till = Till()
    till.spend("1")
    till.clock.jump(12 * 3600)
    till.spend("0.75")
    till.clock.jump(-60)

    assert isinstance(till.reserve("0.25"), Shortage)
    till.clock.jump(60)
    assert isinstance(till.reserve("0.5"), Shortage)
    assert isinstance(till.reserve("0.25"), Hold)


def test_periods_that_an_account_remembers_are_bounded() -> None:
    till = Till()
    for _ in range(50):
        till.spend("1")
        till.clock.jump(24 * 3600)

    assert len(till.account._left) <= 8


def test_a_call_counts_into_the_period_in_which_it_ends() -> None:
    till = Till()
    held = till.hold("0.75")
    till.clock.advance(12 * 3600)

    assert isinstance(till.reserve("0.5"), Shortage)
    till.ledger.settle(held, Amount(10, Decimal("0.75"), 1))
    assert Decimal("0.75") == till.account.cost_usd


def test_what_others_have_spent_is_not_left() -> None:
    till = Till()
    assert isinstance(till.room, OwnRoom)
    till.room.others_spent(TODAY, Decimal("0.75"))

    assert Shortage("team", "budget:team", 1.25, 1.0) == till.reserve("0.5")
    till.clock.advance(12 * 3600)
    assert isinstance(till.reserve("0.5"), Hold)


def test_calls_that_nobody_reserved_are_spent_too() -> None:
    till = Till()
    till.spend("0.25")
    till.account.heard(TODAY, Decimal("0.25"))
    till.account.heard(TODAY, Decimal("0.5"))  # in all

    assert isinstance(till.reserve("0.5"), Shortage)
    assert Decimal("0.75") == till.account.cost_usd


def test_spans_of_another_period_change_nothing() -> None:
    till = Till()
    till.account.heard(Period(TODAY.start_ns - 1, TODAY.start_ns), Decimal(5))

    assert isinstance(till.reserve("1"), Hold)


def test_calls_without_a_price_are_let_through() -> None:
    till = Till()
    till.spend("1")

    assert isinstance(
        till.ledger.reserve([till.account], Need(Amount(10, None, 1), Amount(10, None, 1))), Hold
    )


class Lease:
    """A room that grants a little at a time, as a server would."""

    def __init__(self, granted: str) -> None:
        self.granted = Decimal(granted)
        self.answers = True
        self.asked: list[Decimal] = []
        self.told: list[tuple[Decimal, Decimal]] = []

    def granted_usd(self, period: Period) -> Decimal:
        return self.granted

    def ask(self, period: Period, total_usd: Decimal) -> bool:
        self.asked.append(total_usd)
        return self.answers

    def used(self, period: Period, spent_usd: Decimal, held_usd: Decimal) -> None:
        self.told.append((spent_usd, held_usd))


def test_waits_while_more_is_being_asked_for() -> None:
    lease = Lease("0.25")
    till = Till(lease)
    till.spend("0.25")

    assert till.reserve("0.5", alone=True) is None
    assert [Decimal("0.75")] == lease.asked
    lease.granted = Decimal("0.75")
    assert isinstance(till.reserve("0.5", alone=True), Hold)


@pytest.mark.parametrize(("answers", "alone"), [(False, True), (True, False)])
def test_keeps_to_what_is_granted_where_nobody_answers_or_it_has_waited(
    answers: bool, alone: bool
) -> None:
    lease = Lease("0.25")
    lease.answers = answers
    till = Till(lease)

    # What others were granted is not there for this process: 0.75 of theirs and 0.5 of its own.
    assert Shortage("team", "budget:team", 1.25, 1.0) == till.reserve("0.5", alone=alone)


def test_a_room_is_told_of_everything_held_and_spent() -> None:
    lease = Lease("1")
    Till(lease).spend("0.25")

    assert [(Decimal(0), Decimal("0.25")), (Decimal("0.25"), Decimal(0))] == lease.told


def test_a_room_is_asked_for_more_before_calls_wait_for_each_other() -> None:
    lease = Lease("0.5")
    till = Till(lease)
    till.hold("0.25")

    doubtful = need("0.1", "0.125", doubt=2.0)
    assert till.ledger.reserve([till.account], doubtful, alone=True) is None
    assert [Decimal("0.75")] == lease.asked
