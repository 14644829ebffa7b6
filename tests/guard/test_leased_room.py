"""What a worker does with its lease: asks ahead, waits, gives back, goes on without a server."""

from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS, ManualClock
from tocsin.guard.account import Amount, Hold, Ledger, Need, Shortage
from tocsin.guard.budget_account import BudgetAccount
from tocsin.guard.budgets import Budget
from tocsin.guard.leased_room import UNLIMITED, LeasedRoom
from tocsin.guard.leases import Ask, Grant, LeaseBook, Terms
from tocsin.guard.periods import Period

D = Decimal
TODAY = Period(NOON_NS - 43_200 * 10**9, NOON_NS + 43_200 * 10**9)
TERMS = Terms(expiry_s=20, grace_s=1)


class Worker:
    """A room with a server beside it that can be out of reach."""

    def __init__(self, on_failure: str = "closed", cap: int = 10, name: str = "w") -> None:
        self.clock = ManualClock()
        self.book = LeaseBook(D(cap), TERMS)
        self.is_away = False
        self.woken = 0
        self.seq = 0
        self.budget = Budget("all", limit=cap, stop_at=1, on_failure=on_failure)
        self.room = LeasedRoom(self.budget, name, self.clock, self._wake)
        self.account = BudgetAccount(self.budget, self.room, self.clock)
        self.ledger = Ledger()

    def _wake(self) -> None:
        self.woken += 1

    def talk(self, *, is_last: bool = False) -> list[Ask]:
        """Do what the client's thread does; return what was asked."""
        self.seq += 1
        now_ns = self.clock.monotonic_ns()
        claims = self.room.claims(self.seq, now_ns, is_last=is_last)
        for claim in claims:
            if self.is_away:
                self.room.missed(claim)
            else:
                grant = self.book.ask(claim.ask, now_ns)
                times: Any = {"asked_ns": now_ns, "expiry_s": TERMS.expiry_s, "now_ns": now_ns}
                self.room.heard(claim, grant, **times)
        return [claim.ask for claim in claims]

    def reserve(self, usd: str, *, alone: bool = True) -> Hold | Shortage | None:
        amount = Amount(10, D(usd))
        return self.ledger.reserve([self.account], Need(amount, amount), alone=alone)

    def call(self, usd: str) -> None:
        """Make a call, once there is room for it."""
        hold = self.reserve(usd)
        for _ in range(20):
            if isinstance(hold, Hold):
                self.ledger.settle(hold, Amount(10, D(usd)))
                return
            assert hold is None
            self.clock.advance(0.1)
            self.talk()
            hold = self.reserve(usd)
        raise AssertionError("no room was found")


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_the_first_call_waits_until_there_is_a_lease(worker: Worker) -> None:
    assert worker.reserve("0.5") is None
    assert worker.woken
    (asked,) = worker.talk()
    assert (D("0.5"), D(0)) == (asked.need, asked.used)
    assert isinstance(worker.reserve("0.5"), Hold)


def test_asks_ahead_of_need_at_the_pace_of_late(worker: Worker) -> None:
    for _ in range(20):
        worker.call("0.02")
        worker.clock.advance(0.05)
        worker.talk()

    assert D("0.4") == worker.account.cost_usd
    waited = 0
    for _ in range(20):
        waited += not isinstance(hold := worker.reserve("0.02"), Hold)
        if isinstance(hold, Hold):
            worker.ledger.settle(hold, Amount(10, D("0.02")))
        worker.clock.advance(0.05)
        worker.talk()
    assert 0 == waited


def test_what_is_used_is_reported_within_a_second(worker: Worker) -> None:
    worker.call("0.5")
    worker.clock.advance(1.1)
    worker.talk()

    assert D("0.5") == worker.book.spent


def test_what_an_idle_worker_has_left_is_given_back(worker: Worker) -> None:
    for _ in range(10):
        worker.call("0.1")
    for _ in range(4):
        worker.clock.advance(1)
        worker.talk()

    assert (D(1), D(0)) == (worker.book.spent, worker.book.leased)
    assert [] == worker.talk()  # and then there is nothing to say


def test_a_worker_that_ends_gives_back_at_once(worker: Worker) -> None:
    worker.call("0.5")
    worker.talk(is_last=True)

    assert (D("0.5"), D(0)) == (worker.book.spent, worker.book.leased)


def test_a_lease_is_renewed_while_a_call_goes_on(worker: Worker) -> None:
    worker.reserve("0.5")
    worker.talk()
    worker.reserve("0.5")
    for _ in range(60):
        worker.clock.advance(1)
        worker.talk()
        worker.book.expire(worker.clock.monotonic_ns())

    assert D("0.5") == worker.book.leased


def test_a_call_is_refused_once_nobody_could_grant_it(worker: Worker) -> None:
    worker.book.add_stored("", D("9.8"))
    assert worker.reserve("0.5") is None
    worker.talk()

    refused = worker.reserve("0.5")
    assert isinstance(refused, Shortage)
    assert ("budget:all", 10.0) == (refused.limit, refused.threshold)
    assert refused.value > 10


def test_where_others_hold_what_is_left_a_call_waits_until_they_give_it_back(
    worker: Worker,
) -> None:
    worker.book.ask(Ask(worker="other", seq=1, used=D(0), need=D(10), room=D(10)), 0)
    for _ in range(3):
        assert worker.reserve("0.5") is None
        worker.talk()
        worker.clock.advance(0.5)
    worker.book.ask(Ask(worker="other", seq=2, used=D(1)), 0)

    worker.call("0.5")


def test_a_worker_that_is_cut_off_keeps_to_its_lease(worker: Worker) -> None:
    for _ in range(5):
        worker.call("0.1")
        worker.talk()
    limit = worker.room.granted_usd(TODAY)
    worker.is_away = True
    spent = D("0.5")
    while isinstance(hold := worker.reserve("0.05"), Hold):
        worker.ledger.settle(hold, Amount(10, D("0.05")))
        spent += D("0.05")
        worker.talk()

    assert hold is None  # it waits for the server first
    assert spent <= limit
    worker.talk()
    worker.clock.advance(6)
    assert isinstance(worker.reserve("0.05"), Shortage)


def test_a_lease_ends_for_the_worker_before_it_ends_for_the_server(worker: Worker) -> None:
    worker.reserve("0.5")
    worker.talk()
    worker.is_away = True
    worker.clock.advance(20)
    worker.book.expire(worker.clock.monotonic_ns())

    assert D("0.5") == worker.book.leased
    assert D(0) == worker.room.granted_usd(TODAY)


def test_calls_go_through_unchecked_where_a_budget_fails_open() -> None:
    worker = Worker("open")
    worker.is_away = True
    assert worker.reserve("0.5") is None
    worker.talk()
    worker.clock.advance(6)

    assert UNLIMITED == worker.room.granted_usd(TODAY)
    for _ in range(3):
        hold = worker.reserve("0.5")
        assert isinstance(hold, Hold)
        worker.ledger.settle(hold, Amount(10, D("0.5")))
    assert 3 == worker.room.unchecked
    worker.is_away = False
    worker.talk()
    assert D("1.5") == worker.book.spent
    assert UNLIMITED != worker.room.granted_usd(TODAY)


def test_the_old_period_is_reported_on_after_a_new_one_has_begun(worker: Worker) -> None:
    worker.call("0.5")
    worker.clock.advance(43_200)
    assert worker.reserve("0.1") is None
    seq, now_ns = 100, worker.clock.monotonic_ns()
    claims = {one.period_ns: one.ask for one in worker.room.claims(seq, now_ns, is_last=False)}

    assert {TODAY.start_ns: D("0.5"), TODAY.end_ns: D(0)} == {
        start_ns: asked.used for start_ns, asked in claims.items()
    }


def test_a_budget_that_is_gone_holds_nobody(worker: Worker) -> None:
    worker.room.is_gone = True

    assert isinstance(worker.reserve("500"), Hold)


def test_answers_without_a_limit_are_none(worker: Worker) -> None:
    worker.reserve("1")
    (claim,) = worker.room.claims(1, 0, is_last=False)
    worker.room.heard(claim, Grant(None, None), asked_ns=0, expiry_s=20, now_ns=0)

    assert isinstance(worker.reserve("500"), Hold)
