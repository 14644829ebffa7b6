"""What budgets keep: charges, added up with the spans that they come from, and leases."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from arro3.core import Array, DataType, Table

from tocsin.model.lease import LeaseChange, LeaseRow
from tocsin.store.base import Charge, Spending
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.database import Database
from tocsin.store.embedded.rows import text_array

__all__ = ["add_charges", "drop_old", "leases", "sane", "spending", "write_leases"]

KEPT_S: Final = 62 * 86_400
"""Two months: budgets last one, and their calls may come late."""
NS_PER_S: Final = 1_000_000_000
MAX_CHARGE: Final = Decimal(1_000_000)
"""USD: no call costs as much; what says so is unpriced."""

Key = tuple[str, int, str]
LEASE_KEY: Final = "budget = ? AND period_ns = ? AND worker = ?"


def sane(charge: Charge) -> Charge:
    """Return a charge whose cost can be added up; one that cannot is unknown."""
    usd = charge.usd
    if usd is None or (usd.is_finite() and 0 <= usd < MAX_CHARGE):
        return charge
    return msgspec.structs.replace(charge, usd=None)


def add_charges(cursor: Cursor, charges: Iterable[Charge]) -> None:
    """Add charges to what is there; inside a transaction."""
    sums: defaultdict[Key, list[Decimal | int]] = defaultdict(lambda: [Decimal(0), 0, 0])
    for charge in charges:
        found = sums[charge.budget, charge.slot_s, charge.worker]
        if charge.usd is None:
            found[2] += 1
        else:
            found[0] += charge.usd
            found[1] += 1
    budgets, slots, workers = zip(*sums, strict=True)
    usd, priced, unpriced = zip(*sums.values(), strict=True)
    columns = {
        "budget": text_array(budgets),
        "slot_s": Array(slots, DataType.int64()),
        "worker": text_array(workers),
        "usd": text_array([f"{amount:.12f}" for amount in usd]),
        "priced": Array(priced, DataType.int64()),
        "unpriced": Array(unpriced, DataType.int64()),
    }
    cursor.register("batch", Table.from_arrays(list(columns.values()), names=list(columns)))
    cursor.execute(ADD)
    cursor.unregister("batch")


ADD: Final = (
    "INSERT INTO budget_spending"
    " SELECT budget, slot_s, worker, CAST(usd AS DECIMAL(38, 12)), priced, unpriced FROM batch"
    " ON CONFLICT (budget, slot_s, worker) DO UPDATE SET "
    + ", ".join(
        f"{name} = budget_spending.{name} + excluded.{name}"
        for name in ("usd", "priced", "unpriced")
    )
)


def spending(cursor: Cursor, start_s: int, end_s: int | None) -> tuple[int, list[Spending]]:
    """Read charges of a span of time; see `BudgetStore.spending`."""
    rows = cursor.execute(
        "SELECT budget, slot_s, worker, usd, priced, unpriced FROM budget_spending"
        " WHERE slot_s >= $start AND ($end IS NULL OR slot_s < $end) ORDER BY ALL",
        {"start": start_s, "end": end_s},
    ).fetchall()
    state = first_row(cursor, "SELECT last_seq FROM state")
    return (state[0] if state else 0), [Spending(*row) for row in rows]


def leases(cursor: Cursor, budget: str, period_ns: int) -> list[LeaseRow]:
    """Read the leases of a budget in one period; see `BudgetStore.leases`."""
    rows = cursor.execute(
        "SELECT worker, seq, granted_usd, used_usd FROM budget_leases"
        " WHERE budget = ? AND period_ns = ? ORDER BY worker",
        [budget, period_ns],
    ).fetchall()
    return [LeaseRow(worker=row[0], seq=row[1], granted=row[2], used=row[3]) for row in rows]


def write_leases(cursor: Cursor, changes: Sequence[LeaseChange]) -> None:
    """Write leases; inside a transaction."""
    for change in changes:
        row, key = change.row, [change.budget, change.period_ns, change.row.worker]
        if change.is_gone:
            cursor.execute(f"DELETE FROM budget_leases WHERE {LEASE_KEY}", key)
            continue
        cursor.execute(
            "INSERT OR REPLACE INTO budget_leases VALUES (?, ?, ?, ?, ?, ?)",
            [*key, row.seq, row.granted, row.used],
        )


def drop_old(database: Database, now_ns: int) -> None:
    """Forget what no budget can need any more."""
    before_s = now_ns // NS_PER_S - KEPT_S
    query = (
        f"SELECT EXISTS (FROM budget_spending WHERE slot_s < {before_s})"
        f" OR EXISTS (FROM budget_leases WHERE period_ns < {before_s * NS_PER_S})"
    )
    row = database.read(lambda cursor: first_row(cursor, query))
    if row is None or not row[0]:
        return

    def forget(cursor: Cursor) -> None:
        cursor.execute(f"DELETE FROM budget_spending WHERE slot_s < {before_s}")
        cursor.execute(f"DELETE FROM budget_leases WHERE period_ns < {before_s * NS_PER_S}")

    database.write(forget)
