"""The desk: what spans cost and workers report, added up once, across restarts and refusals."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fakes.clock import NOON_NS, NS, ManualClock
from tests.fakes.store_rows import make_call
from tocsin.errors import QueryError, StoreError
from tocsin.guard.budgets import Budget
from tocsin.guard.leases import Ask, Claim, Grant, Terms
from tocsin.guard.wire import BudgetDocument
from tocsin.meters import catalogue as m
from tocsin.model.lease import LeaseChange
from tocsin.serve.budget_desk import BudgetDesk
from tocsin.store.base import Batch, Receipt
from tocsin.store.charges import Charge
from tocsin.store.embedded.store import EmbeddedStore

D = Decimal
MIDNIGHT_NS = NOON_NS - 12 * 3600 * NS
SLOT = NOON_NS // NS
ALL = Budget("all", limit=10, stop_at=1)
TERMS = Terms(expiry_s=10, grace_s=1, share=D(1))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


Make = Callable[..., BudgetDesk]


@pytest.fixture
def make(store: EmbeddedStore, clock: ManualClock) -> Make:
    return lambda *budgets: BudgetDesk(budgets or (ALL,), store, clock=clock, terms=TERMS)


class Spans:
    """Calls that are stored, each with one charge."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.store = store
        self.number = 0

    def commit(self, usd: float | None, *, worker: str = "") -> Receipt:
        self.number += 1
        charge = Charge("all", MIDNIGHT_NS, SLOT, worker, None if usd is None else D(str(usd)))
        span = msgspec.structs.replace(make_call(self.number), charges=(charge,))
        receipt = self.store.commit(Batch(spans=[span]))
        assert receipt is not None
        return receipt


@pytest.fixture
def spans(store: EmbeddedStore) -> Spans:
    return Spans(store)


def claim(
    worker: str = "w", seq: int = 1, *, used: float = 0, room: float = 0, **more: Any
) -> Claim:
    ask = Ask(worker=worker, seq=seq, used=D(str(used)), holds=D(1000), room=D(str(room)))
    found: dict[str, Any] = {"budget": "all", "period_ns": MIDNIGHT_NS} | more
    return Claim(ask=ask, **found)


def about(desk: BudgetDesk) -> BudgetDocument:
    return desk.documents()[0]


def spent(desk: BudgetDesk) -> str | None:
    return about(desk).spent_usd


def test_spans_and_reports_count_once(make: Make, spans: Spans) -> None:
    desk = make()
    desk.charged(spans.commit(2))
    desk.lease([claim(used=1)])
    desk.charged(spans.commit(1, worker="w"))
    desk.charged(spans.commit(0.5, worker="w"))

    assert "3.5" == spent(desk)
    assert "3.5" == spent(make())  # and after a restart


def test_a_page_that_was_read_with_a_charge_in_it_does_not_count_it_again(
    make: Make, spans: Spans
) -> None:
    desk = make()
    receipt = spans.commit(2)
    desk.lease([claim(used=1)])  # reads the page between the commit and its receipt
    desk.charged(receipt)

    assert "3" == spent(desk)


def test_what_is_granted_and_spent_stays_within_the_limit(make: Make, spans: Spans) -> None:
    desk = make()
    desk.charged(spans.commit(4))

    assert [Grant(D(6), D(6))] == desk.lease([claim("a", room=50)])
    assert [Grant(D(0), D(6))] == desk.lease([claim("b", room=50)])
    assert ("6", "6") == (about(desk).leased_usd, about(desk).left_usd)


def test_leases_survive_a_restart(make: Make, clock: ManualClock) -> None:
    make().lease([claim("a", used=1, room=5)])
    desk = make()

    assert [Grant(D(4), D(9))] == desk.lease([claim("b", room=50)])
    clock.advance(11)
    assert "0" == about(desk).leased_usd


class Refusing:
    """A store that cannot write."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self.refuses = True

    def write_leases(self, changes: Sequence[LeaseChange], spent: Any) -> None:
        if self.refuses:
            raise StoreError("the disk is full")
        self._store.write_leases(changes, spent)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_forecasts_survive_a_restart(make: Make, spans: Spans, clock: ManualClock) -> None:
    desk = make()
    for number in range(8):
        clock.advance(900)
        desk.lease([claim(seq=number, used=0.25 * (number + 1))])
    spans.commit(1, worker="w")  # is in what was reported

    pace = about(desk).pace
    assert pace is not None
    assert pace == about(make()).pace
    assert 11 < D(pace.total_usd) < 15  # 2 dollars, and about one an hour for ten hours


def test_nothing_is_granted_that_is_not_on_disk(store: EmbeddedStore, clock: ManualClock) -> None:
    refusing: Any = Refusing(store)
    desk = BudgetDesk([ALL], refusing, clock=clock, terms=TERMS)
    with pytest.raises(StoreError):
        desk.lease([claim("a", room=5)])
    with pytest.raises(StoreError):
        desk.lease([claim("b", room=5)])
    assert [] == store.leases("all", MIDNIGHT_NS)

    refusing.refuses = False
    desk.lease([claim("c", room=1)])
    assert ["a", "b", "c"] == [row.worker for row in store.leases("all", MIDNIGHT_NS)]


def test_every_period_begins_anew(make: Make, spans: Spans, clock: ManualClock) -> None:
    desk = make()
    desk.charged(spans.commit(4))
    desk.lease([claim(used=2, room=3)])
    clock.advance(12 * 3600)

    document = about(desk)
    assert ("0", "0", "10") == (document.spent_usd, document.leased_usd, document.left_usd)
    tomorrow = claim(seq=2, room=3, period_ns=MIDNIGHT_NS + 24 * 3600 * NS)
    assert [Grant(D(3), D(10))] == desk.lease([tomorrow])


def test_a_period_that_is_over_can_be_reported_on_but_not_leased(
    make: Make, clock: ManualClock, store: EmbeddedStore
) -> None:
    desk = make()
    clock.advance(14 * 3600)

    assert [Grant(D(2), D(10))] == desk.lease([claim(used=2, room=3)])
    assert D(2) == store.leases("all", MIDNIGHT_NS)[0].used


def test_a_worker_whose_clock_is_a_little_ahead_gets_a_lease(
    make: Make, clock: ManualClock
) -> None:
    desk = make()
    clock.advance(12 * 3600 - 30)

    assert [Grant(D(3), D(10))] == desk.lease([claim(room=3, period_ns=MIDNIGHT_NS + 86_400 * NS)])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"budget": "alll"}, "no budget 'alll'; there are all"),
        ({"period_ns": MIDNIGHT_NS + 1}, "no day of budget 'all' begins then"),
        ({"period_ns": MIDNIGHT_NS + 86_400 * NS}, "is not now"),
        ({"period_ns": MIDNIGHT_NS - 60 * 86_400 * NS}, "is not now"),
        ({"period_ns": -1}, "begins then"),
    ],
)
def test_says_what_is_wrong(make: Make, wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        make().lease([claim(used=1), claim(**wrong)])


def test_what_is_refused_changes_nothing(make: Make) -> None:
    desk = make()
    with pytest.raises(QueryError):
        desk.lease([claim(used=1), claim(budget="none")])
    assert "0" == spent(desk)


def test_unknown_is_not_zero(make: Make, spans: Spans) -> None:
    desk = make()
    desk.charged(spans.commit(None))

    document = about(desk)
    assert (None, None, 1) == (document.spent_usd, document.left_usd, document.unpriced_calls)


def test_tells_of_shares_once(make: Make, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    desk = make()
    desk.charged(spans.commit(5))
    desk.charged(spans.commit(0.1))
    desk.lease([claim(used=3)])

    page = desk.readings()
    told = {
        labels[1]: count for (metric, labels), count in page.items() if metric is m.BUDGET_EVENTS
    }
    assert {"alert:0.5": 1, "alert:0.8": 1, "alert:1": 0, "forecast": 0} == told
    assert ["50%", "81%"] == [text.split("(")[1][:3] for text in caplog.messages]


def test_after_an_unsure_commit_what_is_stored_counts(make: Make, spans: Spans) -> None:
    desk = make()
    desk.charged(spans.commit(1))
    desk.lease([claim(used=1, room=2)])
    spans.commit(2)  # whose receipt was lost
    desk.reload()

    assert ("4", "2") == (spent(desk), about(desk).leased_usd)


def test_a_budget_that_stops_nothing_only_counts(make: Make) -> None:
    desk = make(Budget("all", limit=10))

    assert [Grant(None, None)] == desk.lease([claim(used=50, room=3)])
    assert ("50", "-40", "0") == (
        about(desk).spent_usd,
        about(desk).left_usd,
        about(desk).leased_usd,
    )
