"""Questions about single runs and lists of them."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from tocsin.errors import QueryError
from tocsin.store.adoption import spans_of_run
from tocsin.store.base import (
    NO_RUN,
    Conversation,
    RunOrder,
    RunPage,
    RunQuery,
    RunView,
    StoredSpan,
)
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.relation import Relation
from tocsin.store.embedded.rows import SPAN_NAMES, read_run, read_span
from tocsin.store.embedded.schema import RUN_COLUMNS

__all__ = ["conversation", "run_ids", "run_page", "run_view", "unfinished"]

MARGIN_NS: Final = 60_000_000_000
"""How far the clocks of one run's machines may be apart."""
MAX_LIMIT: Final = 1_000
RUN: Final = ", ".join(f"runs.{column.name}" for column in RUN_COLUMNS)
DURATION: Final = "(coalesce(ended_ns, started_ns) - started_ns)"
ORDERS: Final = {
    RunOrder.NEWEST: "started_ns",
    RunOrder.SLOWEST: DURATION,
    RunOrder.COSTLIEST: "cost_usd",
    RunOrder.MOST_TOKENS: "(input_tokens + output_tokens)",
}
FILTERS: Final = {
    "start_ns": "started_ns >= $start_ns",
    "end_ns": "started_ns < $end_ns",
    "workflow": "workflow = $workflow",
    "outcomes": "list_contains($outcomes, outcome)",
    "conversation_id": "conversation_id = $conversation_id",
    "service": "service = $service",
    "environment": "environment = $environment",
    "min_duration_s": f"{DURATION} >= $min_duration_s * 1e9",
    "min_cost_usd": "cost_usd >= $min_cost_usd",
}


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last run of a page: what a cursor holds."""

    order: RunOrder
    value: str
    run_id: str


def run_view(cursor: Cursor, directory: Path, run_id: str) -> RunView | None:
    """Read one run with its spans."""
    row = first_row(cursor, f"SELECT {RUN} FROM runs WHERE run_id = ?", [run_id])
    if row is None:
        return None
    run = read_run(row)
    first_ns, last_ns = row[-2] - MARGIN_NS, None
    where = f"trace_id = $trace_id AND started_ns >= {first_ns}"
    if run.run.outcome is not None:
        last_ns = row[-1] + MARGIN_NS
        where += f" AND started_ns <= {last_ns}"
    source = Relation.between(cursor, directory, first_ns, last_ns).select(SPAN_NAMES, where)
    rows = cursor.execute(
        f"FROM ({source}) ORDER BY started_ns, ended_ns DESC, span_id",
        {"trace_id": run.run.trace_id},
    ).fetchall()
    spans = [read_span(row) for row in rows]
    if any(stored.run_id != run_id for stored in spans):
        spans = spans_of_run(run_id, _finished(cursor, {stored.run_id for stored in spans}), spans)
    return RunView(run=run, spans=spans)


def _finished(cursor: Cursor, run_ids: Iterable[str | None]) -> frozenset[str]:
    """Which of these are stored runs, and not just where a span was put for the time being."""
    found = cursor.execute(
        "SELECT run_id FROM runs WHERE run_id IN (SELECT unnest($run_ids))",
        {"run_ids": [run_id for run_id in run_ids if run_id is not None]},
    ).fetchall()
    return frozenset(row[0] for row in found)


def run_ids(cursor: Cursor, start: str, end: str, limit: int) -> list[str]:
    """List ids of runs that begin and end so."""
    rows = cursor.execute(
        "SELECT run_id FROM runs WHERE starts_with(run_id, $start) AND ends_with(run_id, $end)"
        " AND length(run_id) >= length($start) + length($end) ORDER BY run_id LIMIT $limit",
        {"start": start, "end": end, "limit": limit},
    ).fetchall()
    return [row[0] for row in rows]


def run_page(cursor: Cursor, query: RunQuery) -> RunPage:
    """Read a page of runs."""
    if not 1 <= query.limit <= MAX_LIMIT:
        raise QueryError(f"limit {query.limit} is not between 1 and {MAX_LIMIT}")
    key = ORDERS[query.order]
    conditions, values = _filters(query)
    if query.cursor is not None:
        place = _read_cursor(query.cursor, query.order)
        value = f"CAST($value AS {'DECIMAL(18, 12)' if key == 'cost_usd' else 'BIGINT'})"
        conditions.append(f"({key} < {value} OR ({key} = {value} AND run_id < $run_id))")
        values |= {"value": place.value, "run_id": place.run_id}
    order = f"ORDER BY {key} DESC, run_id DESC"
    # Finding the rows by few columns first is twice as fast as sorting them whole.
    found = (
        f"SELECT rowid FROM runs WHERE {' AND '.join(conditions)} {order} LIMIT {query.limit + 1}"
    )
    rows = cursor.execute(
        f"SELECT {RUN}, CAST({key} AS VARCHAR) FROM runs WHERE rowid IN ({found}) {order}", values
    ).fetchall()
    page = [read_run(row[:-1]) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return RunPage(runs=page, next_cursor=None)
    place = Place(query.order, rows[query.limit - 1][-1], page[-1].run.run_id)
    return RunPage(runs=page, next_cursor=_write_cursor(place))


def conversation(cursor: Cursor, conversation_id: str, limit: int) -> Conversation | None:
    """Read the runs of a conversation, and its totals."""
    totals = first_row(
        cursor,
        "SELECT count(*), sum(input_tokens + output_tokens), sum(priced_calls), sum(cost_usd)"
        " FROM runs WHERE conversation_id = ?",
        [conversation_id],
    )
    if totals is None or totals[0] == 0:
        return None
    rows = cursor.execute(
        f"SELECT {RUN} FROM runs WHERE conversation_id = ? ORDER BY started_ns, run_id LIMIT ?",
        [conversation_id, limit],
    ).fetchall()
    return Conversation(
        conversation_id=conversation_id,
        runs=[read_run(row) for row in rows],
        run_count=totals[0],
        total_tokens=totals[1],
        cost_usd=totals[3] if totals[2] else None,
    )


def unfinished(cursor: Cursor, directory: Path, since_ns: int) -> list[StoredSpan]:
    """Read the spans begun since then whose run, or else whose trace, has no finished run."""
    source = Relation.between(cursor, directory, since_ns, None)
    since = f"started_ns >= {since_ns}"
    # Few columns first: nearly all spans are of finished runs, and are not read any further.
    open_runs, open_traces = (
        _without_finished(cursor, source.select([key], f"{since} AND {condition}"), key, since_ns)
        for key, condition in (
            ("run_id", f"run_id IS NOT NULL AND run_id <> '{NO_RUN}'"),
            ("trace_id", "run_id IS NULL"),
        )
    )
    if not open_runs and not open_traces:
        return []
    of_those = (
        "(list_contains($runs, run_id) OR (run_id IS NULL AND list_contains($traces, trace_id)))"
    )
    rows = cursor.execute(
        f"FROM ({source.select(SPAN_NAMES, f'{since} AND {of_those}')})"
        " ORDER BY ended_ns, started_ns DESC, span_id",
        {"runs": open_runs, "traces": open_traces},
    ).fetchall()
    return [read_span(row) for row in rows]


def of_traces(
    cursor: Cursor, directory: Path, trace_ids: Sequence[str], since_ns: int
) -> list[StoredSpan]:
    """Read the spans of some traces that began since then."""
    source = Relation.between(cursor, directory, since_ns, None).select(
        SPAN_NAMES, f"started_ns >= {since_ns} AND list_contains($traces, trace_id)"
    )
    rows = cursor.execute(source, {"traces": list(trace_ids)}).fetchall()
    return [read_span(row) for row in rows]


def _without_finished(cursor: Cursor, keys: str, key: str, since_ns: int) -> list[str]:
    """Return the keys to which no finished run belongs that may have spans since then."""
    rows = cursor.execute(
        f"SELECT DISTINCT {key} FROM ({keys}) WHERE {key} NOT IN (SELECT {key} FROM runs"
        f" WHERE outcome IS NOT NULL AND last_ns >= {since_ns - MARGIN_NS})"
    ).fetchall()
    return [row[0] for row in rows]


def _filters(query: RunQuery) -> tuple[list[str], dict[str, Any]]:
    values = {name: getattr(query, name) for name in FILTERS}
    given = {name: value for name, value in values.items() if value is not None}
    if query.outcomes is not None:
        given["outcomes"] = sorted(query.outcomes)
    return ["true", *(FILTERS[name] for name in given)], given


def _write_cursor(place: Place) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read_cursor(text: str, order: RunOrder) -> Place:
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        place = msgspec.json.decode(raw, type=Place)
        Decimal(place.value)
    except (ValueError, ArithmeticError, msgspec.DecodeError) as error:
        raise QueryError("the cursor is damaged; start from the first page") from error
    if place.order is not order:
        raise QueryError(f"the cursor belongs to a list ordered by {place.order}, not {order}")
    return place
