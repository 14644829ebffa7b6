"""What budgets keep: charges, added up with the spans that they come from, and leases."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from arro3.core import Array, DataType, Table

from tocsin.model.lease import LeaseChange, LeaseRow
from tocsin.store.charges import Charge, Spending
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.database import Database
from tocsin.store.embedded.rows import text_array

__all__ = ["add_charges", "drop_old", "leases", "sane", "spending", "timeline", "write_leases"]

NS_PER_S: Final = 1_000_000_000
KEPT_NS: Final = 62 * 86_400 * NS_PER_S
"""Two months: budgets last one, and their calls may come late."""
TIMELINE_S: Final = 3 * 86_400
MAX_CHARGE: Final = Decimal(1_000_000)
"""USD: no call costs as much; what says so is unpriced."""

LEASE_KEY: Final = "budget = ? AND period_ns = ? AND worker = ?"


def sane(charge: Charge) -> Charge:
    """Return a charge whose cost can be added up; one that cannot is unknown."""
    usd = charge.usd
    if usd is None or (usd.is_finite() and 0 <= usd < MAX_CHARGE):
        return charge
    return msgspec.structs.replace(charge, usd=None)


def add_charges(cursor: Cursor, charges: Iterable[Charge]) -> None:
    """Add charges to what is there; inside a transaction.

    Those of a worker are left out of the timeline: what it reports is added there.
    """
    sums: defaultdict[tuple[str, int, str], list[Decimal | int]] = defaultdict(
        lambda: [Decimal(0), 0, 0]
    )
    slots: defaultdict[tuple[str, int], Decimal] = defaultdict(Decimal)
    for charge in charges:
        found = sums[charge.budget, charge.period_ns, charge.worker]
        if charge.usd is None:
            found[2] += 1
            continue
        found[0] += charge.usd
        found[1] += 1
        if not charge.worker:
            slots[charge.budget, charge.slot_s] += charge.usd
    budgets, periods, workers = zip(*sums, strict=True)
    usd, priced, unpriced = zip(*sums.values(), strict=True)
    columns = {
        "budget": text_array(budgets),
        "period_ns": Array(periods, DataType.int64()),
        "worker": text_array(workers),
        "usd": _usd_array(usd),
        "priced": Array(priced, DataType.int64()),
        "unpriced": Array(unpriced, DataType.int64()),
    }
    _add(cursor, "budget_spending", 3, columns)
    add_slots(cursor, slots)


def add_slots(cursor: Cursor, slots: Mapping[tuple[str, int], Decimal]) -> None:
    """Add USD to the timelines of budgets, by slot; inside a transaction."""
    if not slots:
        return
    budgets, starts = zip(*slots, strict=True)
    columns = {
        "budget": text_array(budgets),
        "slot_s": Array(starts, DataType.int64()),
        "usd": _usd_array(list(slots.values())),
    }
    _add(cursor, "budget_timeline", 2, columns)


def spending(cursor: Cursor, budget: str, period_ns: int) -> tuple[int, list[Spending]]:
    """Read charges of a period; see `BudgetStore.spending`."""
    rows = cursor.execute(
        "SELECT worker, usd, priced, unpriced FROM budget_spending"
        " WHERE budget = ? AND period_ns = ? ORDER BY worker",
        [budget, period_ns],
    ).fetchall()
    state = first_row(cursor, "SELECT last_seq FROM state")
    return (state[0] if state else 0), [Spending(*row) for row in rows]


def timeline(cursor: Cursor, start_s: int) -> dict[str, dict[int, Decimal]]:
    """Read when money was spent; see `BudgetStore.timeline`."""
    rows = cursor.execute(
        "SELECT budget, slot_s, usd FROM budget_timeline WHERE slot_s >= ?", [start_s]
    ).fetchall()
    found: defaultdict[str, dict[int, Decimal]] = defaultdict(dict)
    for budget, slot_s, usd in rows:
        found[budget][slot_s] = usd
    return dict(found)


def leases(cursor: Cursor, budget: str, period_ns: int) -> list[LeaseRow]:
    """Read the leases of a budget in one period; see `BudgetStore.leases`."""
    rows = cursor.execute(
        "SELECT worker, seq, granted_usd, used_usd FROM budget_leases"
        " WHERE budget = ? AND period_ns = ? ORDER BY worker",
        [budget, period_ns],
    ).fetchall()
    return [LeaseRow(worker=row[0], seq=row[1], granted=row[2], used=row[3]) for row in rows]


def write_leases(
    cursor: Cursor, changes: Sequence[LeaseChange], spent: Mapping[tuple[str, int], Decimal]
) -> None:
    """Write leases, and add to timelines; inside a transaction."""
    for change in changes:
        row, key = change.row, [change.budget, change.period_ns, change.row.worker]
        if change.is_gone:
            cursor.execute(f"DELETE FROM budget_leases WHERE {LEASE_KEY}", key)
            continue
        cursor.execute(
            "INSERT OR REPLACE INTO budget_leases VALUES (?, ?, ?, ?, ?, ?)",
            [*key, row.seq, row.granted, row.used],
        )
    add_slots(cursor, spent)


def drop_old(database: Database, now_ns: int) -> None:
    """Forget what no budget can need any more."""
    old = {
        "budget_spending": f"period_ns < {now_ns - KEPT_NS}",
        "budget_leases": f"period_ns < {now_ns - KEPT_NS}",
        "budget_timeline": f"slot_s < {now_ns // NS_PER_S - TIMELINE_S}",
    }
    tests = " OR ".join(f"EXISTS (FROM {table} WHERE {where})" for table, where in old.items())
    row = database.read(lambda cursor: first_row(cursor, f"SELECT {tests}"))
    if row is None or not row[0]:
        return

    def forget(cursor: Cursor) -> None:
        for table, where in old.items():
            cursor.execute(f"DELETE FROM {table} WHERE {where}")

    database.write(forget)


def _add(cursor: Cursor, table: str, keys: int, columns: Mapping[str, Array]) -> None:
    """Insert rows, or add to those that are there; the first columns are the key."""
    names = list(columns)
    values = ["CAST(usd AS DECIMAL(38, 12))" if name == "usd" else name for name in names]
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in names[keys:])
    cursor.register("batch", Table.from_arrays(list(columns.values()), names=names))
    cursor.execute(
        f"INSERT INTO {table} SELECT {', '.join(values)} FROM batch"
        f" ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {sums}"
    )
    cursor.unregister("batch")


def _usd_array(amounts: Sequence[Decimal]) -> Array:
    """Lay out amounts as text: an array of decimals would be one of floats."""
    return text_array([f"{amount:.12f}" for amount in amounts])
