"""How many runs kept to a service level."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tocsin.store.embedded.cursor import Cursor, Row
from tocsin.store.embedded.relation import Relation
from tocsin.store.level_counts import FAILED, SUCCESS, UNDECIDED, LevelCount, LevelQuery

__all__ = ["count_levels"]

MAX_WORKFLOWS: Final = 500
LONGEST_NS: Final = 86_400 * 1_000_000_000
"""How much earlier than it ended the calls of a run are looked for."""
ENDED: Final = "coalesce(ended_ns, started_ns)"
TOKENS: Final = "input_tokens + output_tokens"
FIRST_TOKEN: Final = "first_token"
VALUES: Final = {
    "latency": f"({ENDED} - started_ns) / 1e9",
    "tokens": f"({TOKENS})",
    "cost": "CAST(cost_usd AS DOUBLE)",
    "turns": "turns",
    FIRST_TOKEN: "slowest_s",
}
MORE: Final = {
    "tokens": "usage_missing > 0",
    "cost": "usage_missing > 0 OR unpriced_calls > 0",
    FIRST_TOKEN: "slowest_s IS NULL",
}
"""When a value below its limit may be more than is known."""


def count_levels(cursor: Cursor, directory: Path, query: LevelQuery) -> list[LevelCount]:
    """Count the runs that kept to a service level; see `RunReader.count_levels`."""
    verdicts = dict(_verdicts(query))
    columns = [
        f"count(*) FILTER (WHERE {ENDED} >= {start_ns} AND {verdict} IS {state})"
        for start_ns in query.starts_ns
        for verdict in verdicts.values()
        for state in ("FALSE", "TRUE", "NULL")
    ]
    values: dict[str, Any] = {"first": min(query.starts_ns), "end": query.end_ns, **query.limits}
    whose = "NOT list_contains($others, workflow)"
    if query.workflow is None:
        values["others"] = sorted(query.others)
    else:
        whose, values["workflow"] = "workflow = $workflow", query.workflow
    rows = cursor.execute(
        f"SELECT workflow, {', '.join(columns)} FROM ({_runs(cursor, directory, query, whose)})"
        f" GROUP BY workflow ORDER BY count(*) DESC, workflow LIMIT {MAX_WORKFLOWS}",
        values,
    ).fetchall()
    return [count for row in rows for count in _counts(query, list(verdicts), row)]


def _verdicts(query: LevelQuery) -> Iterator[tuple[str, str]]:
    """Write, for each limit, whether a run broke it; NULL where nobody can say."""
    yield (
        SUCCESS,
        f"(CASE WHEN outcome IN {_list(FAILED)} THEN TRUE"
        f" WHEN outcome IN {_list(UNDECIDED)} THEN NULL ELSE FALSE END)",
    )
    for limit in query.limits:
        more = f"{MORE.get(limit, 'FALSE')} OR outcome = 'unknown'"
        yield (
            limit,
            f"(CASE WHEN {VALUES[limit]} > ${limit} THEN TRUE"
            f" WHEN {more} THEN NULL ELSE FALSE END)",
        )


def _runs(cursor: Cursor, directory: Path, query: LevelQuery, whose: str) -> str:
    runs = (
        f"SELECT * FROM runs WHERE outcome IS NOT NULL AND {whose}"
        f" AND {ENDED} >= $first AND {ENDED} < $end"
    )
    if FIRST_TOKEN not in query.limits:
        return runs
    since_ns = min(query.starts_ns) - LONGEST_NS
    calls = Relation.between(cursor, directory, since_ns, query.end_ns).select(
        ("run_id", "trace_id", "started_ns", "first_token_s"),
        f"started_ns >= {since_ns} AND first_token_s IS NOT NULL AND kind = 'llm'",
    )
    # Calls that were stored while their run went on may not know it yet.
    return (
        f"WITH runs_of AS ({runs}) SELECT runs_of.*, slowest_s FROM runs_of LEFT JOIN ("
        f" SELECT runs_of.run_id AS id, max(first_token_s) AS slowest_s FROM ({calls}) AS calls"
        " JOIN runs_of ON calls.trace_id = runs_of.trace_id AND (calls.run_id = runs_of.run_id OR"
        " (calls.run_id IS NULL AND calls.started_ns BETWEEN runs_of.started_ns AND"
        " coalesce(runs_of.ended_ns, runs_of.started_ns))) GROUP BY id) ON id = runs_of.run_id"
    )


def _counts(query: LevelQuery, limits: list[str], row: Row) -> Iterator[LevelCount]:
    numbers = iter(row[1:])
    for start_ns in query.starts_ns:
        for limit in limits:
            yield LevelCount(
                workflow=row[0],
                limit=limit,
                start_ns=start_ns,
                within=next(numbers),
                beyond=next(numbers),
                unknown=next(numbers),
            )


def _list(words: frozenset[Any]) -> str:
    return "(" + ", ".join(sorted(f"'{word}'" for word in words)) + ")"
