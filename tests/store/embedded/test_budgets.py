"""Charges are stored once, with their spans; leases as they were written."""

from decimal import Decimal
from pathlib import Path

import msgspec

from tests.fakes.store_rows import DAY, START, make_call
from tocsin.model.lease import LeaseChange, LeaseRow
from tocsin.store.base import Batch, StoredSpan
from tocsin.store.charges import Charge, Spending
from tocsin.store.embedded.store import EmbeddedStore

D = Decimal
SLOT = START // 1_000_000_000


def charged(number: int, *charges: Charge) -> StoredSpan:
    return msgspec.structs.replace(make_call(number), charges=charges)


def cents(amount: int | None, *, budget: str = "all", day: int = 0, worker: str = "") -> Charge:
    usd = None if amount is None else D(amount) / 100
    return Charge(budget, START + day * DAY, SLOT + day * 86_400, worker, usd)


def test_adds_up_charges_by_budget_period_and_worker(data: Path) -> None:
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[charged(1, cents(3), cents(3, budget="team")), charged(2, cents(4))]))
    store.commit(Batch(spans=[charged(3, cents(None), cents(5, worker="w"))]))
    store.commit(Batch(spans=[charged(4, cents(1, day=1))]))
    store.close()

    again = EmbeddedStore(data)
    assert [Spending("", D("0.07"), 2, 1), Spending("w", D("0.05"), 1, 0)] == (
        again.spending("all", START)[1]
    )
    assert [Spending("", D("0.01"), 1, 0)] == again.spending("all", START + DAY)[1]
    assert [Spending("", D("0.03"), 1, 0)] == again.spending("team", START)[1]
    assert [] == again.spending("none", START)[1]
    again.close()


def test_timelines_have_what_no_worker_reports_and_what_is_added(data: Path) -> None:
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[charged(1, cents(3), cents(5, worker="w"), cents(None))]))
    store.commit(Batch(spans=[charged(2, cents(4, day=1), cents(1, budget="team"))]))
    store.write_leases([], {("all", SLOT): D("0.5")})

    assert {
        "all": {SLOT: D("0.53"), SLOT + 86_400: D("0.04")},
        "team": {SLOT: D("0.01")},
    } == store.timeline(SLOT)
    assert {"all": {SLOT + 86_400: D("0.04")}} == store.timeline(SLOT + 1)
    store.close()


def test_charges_of_spans_that_are_stored_already_are_left_out(data: Path) -> None:
    store = EmbeddedStore(data)
    first = store.commit(Batch(spans=[charged(1, cents(3))], position=1))
    assert first is not None
    again = store.commit(Batch(spans=[charged(1, cents(3)), charged(2, cents(4))], position=2))
    assert again is not None
    assert [cents(4)] == again.charges
    assert first.seq < again.seq == store.spending("all", START)[0]
    assert store.commit(Batch(spans=[charged(3, cents(5))], position=2)) is None
    assert D("0.07") == store.spending("all", START)[1][0].usd
    store.close()


def test_a_cost_that_no_call_has_is_unpriced(data: Path) -> None:
    store = EmbeddedStore(data)
    costs = (D("NaN"), D("Infinity"), D("1e30"), D(-1))
    wrong = [Charge("all", START, SLOT, "", usd) for usd in costs]
    store.commit(Batch(spans=[charged(n, charge) for n, charge in enumerate(wrong)]))
    assert [Spending("", D(0), 0, 4)] == store.spending("all", START)[1]
    store.close()


def lease(worker: str, *, granted: str = "1", is_gone: bool = False, **fields: int) -> LeaseChange:
    row = LeaseRow(worker=worker, seq=7, granted=D(granted), used=D("0.25"))
    place = {"budget": "all", "period_ns": START} | fields
    return LeaseChange(row=row, is_gone=is_gone, **place)  # type: ignore[arg-type]


def test_leases_are_read_back_as_they_were_written_last(data: Path) -> None:
    store = EmbeddedStore(data)
    store.write_leases([lease("a"), lease("b"), lease("c", period_ns=START + DAY)], {})
    store.write_leases([lease("a", granted="2.5"), lease("b", is_gone=True)], {})
    store.close()

    again = EmbeddedStore(data)
    assert [lease("a", granted="2.5").row] == again.leases("all", START)
    assert [lease("c").row] == again.leases("all", START + DAY)
    assert [] == again.leases("team", START)
    again.close()


def test_forgets_what_no_budget_needs_any_more(data: Path) -> None:
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[charged(1, cents(3)), charged(2, cents(3, day=2))]))
    store.write_leases([lease("a"), lease("a", period_ns=START + 2 * DAY)], {})
    store.seal(START + 4 * DAY)
    assert {SLOT + 2 * 86_400} == store.timeline(0)["all"].keys()
    assert store.spending("all", START)[1]
    store.seal(START + 63 * DAY)
    assert [] == store.spending("all", START)[1]
    assert store.spending("all", START + 2 * DAY)[1]
    assert ([], 1) == (store.leases("all", START), len(store.leases("all", START + 2 * DAY)))
    store.close()
