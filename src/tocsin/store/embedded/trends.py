"""Latency, errors and usage by group and step, from hourly sums wherever those suffice."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from duckdb import DuckDBPyConnection as Cursor

from tocsin.errors import QueryError
from tocsin.model.label import UNKNOWN
from tocsin.model.span import ErrorClass
from tocsin.store.base import (
    FAILED,
    ErrorCount,
    GroupBy,
    Latency,
    Scope,
    UsageSum,
    Window,
)
from tocsin.store.embedded.relation import Relation
from tocsin.store.embedded.rollup import GROWTH, HOUR_NS, LATENCY, USAGE, bucket_of

__all__ = ["errors", "latency", "usage"]

SHORT_NS: Final = 2 * HOUR_NS
"""Windows up to this are read span by span."""
LONGEST_FINE_NS: Final = 24 * HOUR_NS
MAX_STEPS: Final = 2_000
KINDS: Final = {
    GroupBy.MODEL: ("llm",),
    GroupBy.TOOL: ("tool",),
    GroupBy.AGENT: ("agent",),
}
SPAN_GROUPS: Final = {
    GroupBy.WORKFLOW: "workflow",
    GroupBy.MODEL: "model",
    GroupBy.TOOL: "name",
    GroupBy.AGENT: "name",
}
MODEL_CALLS: Final = ("llm", "embedding")
USAGE_SUMS: Final = (
    *("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "usage_missing", "unpriced", "cost_usd"),
)


class Question(msgspec.Struct, frozen=True):
    """Which spans are meant, and how they are grouped."""

    window: Window
    scope: Scope
    kinds: Sequence[str]
    group: str

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """Write what rows of spans and of hourly sums must fulfil."""
        columns = {"workflow": "workflow", "model": "model", "agent": "agent"}
        columns |= {"service": "service", "environment": "environment", "tool": "name"}
        if "agent" in self.kinds:
            columns["agent"] = "name"
        kinds = ", ".join(f"'{kind}'" for kind in self.kinds)
        wanted = _given(self.scope)
        parts = [f"kind IN ({kinds})", *(f"{columns[name]} = ${name}" for name in wanted)]
        return " AND ".join(parts), wanted


def latency(
    cursor: Cursor, directory: Path, by: GroupBy, window: Window, scope: Scope
) -> list[Latency]:
    """Compare durations, by group and step; see `SpanStore.latency`."""
    check(window)
    if by is GroupBy.WORKFLOW:
        finished = "outcome IS NOT NULL"
        columns = f"{bucket_of('ended_ns - started_ns')} AS bucket, 1 AS spans"
        facts, values = _run_facts(window, scope, columns, finished)
    else:
        question = Question(window, scope, _kinds(by, scope), SPAN_GROUPS[by])
        facts, values = _facts(cursor, directory, question, "latency_hourly")
    ranks = ", ".join(
        f"min(bucket) FILTER (upto * 100 >= total * {percent})" for percent in (50, 95, 99)
    )
    rows = cursor.execute(
        f"WITH counted AS (SELECT grp, step_ns, bucket, sum(spans) AS spans FROM ({facts})"
        " GROUP BY ALL), ranked AS (SELECT *,"
        " sum(spans) OVER (PARTITION BY grp, step_ns ORDER BY bucket) AS upto,"
        " sum(spans) OVER (PARTITION BY grp, step_ns) AS total FROM counted)"
        f" SELECT grp, step_ns, CAST(any_value(total) AS BIGINT), {ranks} FROM ranked"
        " GROUP BY grp, step_ns ORDER BY step_ns, grp",
        values,
    ).fetchall()
    return [
        Latency(
            group=group,
            at_ns=at_ns,
            count=count,
            p50_s=_middle_s(p50),
            p95_s=_middle_s(p95),
            p99_s=_middle_s(p99),
        )
        for group, at_ns, count, p50, p95, p99 in rows
    ]


def errors(
    cursor: Cursor, directory: Path, by: GroupBy, window: Window, scope: Scope
) -> list[ErrorCount]:
    """Compare failures, by group and step; see `SpanStore.errors`."""
    check(window)
    if by is GroupBy.WORKFLOW:
        columns = "nullif(outcome, 'ok') AS error, 1 AS spans"
        facts, values = _run_facts(window, scope, columns, "outcome IS NOT NULL")
        failures = frozenset[str](FAILED)
    else:
        question = Question(window, scope, _kinds(by, scope), SPAN_GROUPS[by])
        facts, values = _facts(cursor, directory, question, "usage_hourly")
        failures = frozenset(ErrorClass) - {ErrorClass.CANCELLED}
    rows = cursor.execute(
        f"SELECT grp, step_ns, error, CAST(sum(spans) AS BIGINT) FROM ({facts})"
        " GROUP BY ALL ORDER BY step_ns, grp, error",
        values,
    ).fetchall()
    return _count_errors(rows, failures)


def usage(
    cursor: Cursor, directory: Path, by: GroupBy, window: Window, scope: Scope
) -> list[UsageSum]:
    """Compare tokens and dollars, by group and step; see `SpanStore.usage`."""
    check(window)
    if by is GroupBy.TOOL or scope.tool is not None:
        raise QueryError("tools use no tokens; ask for usage by workflow, model or agent")
    group = "agent" if by is GroupBy.AGENT else SPAN_GROUPS[by]
    question = Question(window, scope, MODEL_CALLS, group)
    facts, values = _facts(cursor, directory, question, "usage_hourly")
    sums = [
        f"sum({name})" if name == "cost_usd" else f"CAST(coalesce(sum({name}), 0) AS BIGINT)"
        for name in USAGE_SUMS
    ]
    rows = cursor.execute(
        f"SELECT grp, step_ns, {', '.join(sums)} FROM ({facts}) GROUP BY ALL ORDER BY step_ns, grp",
        values,
    ).fetchall()
    return [
        UsageSum(**dict(zip(("group", "at_ns", *USAGE_SUMS), row, strict=True))) for row in rows
    ]


def check(window: Window) -> None:
    """Raise QueryError for a window that is empty, or too finely cut to be read quickly."""
    length = window.end_ns - window.start_ns
    step = window.step_ns
    if length <= 0:
        raise QueryError("the window is empty: its end must be after its start")
    if step is None:
        return
    if step <= 0 or length // step > MAX_STEPS:
        raise QueryError(f"the window has more than {MAX_STEPS} steps; take longer ones")
    if step % HOUR_NS and length > LONGEST_FINE_NS:
        raise QueryError("in a window over 24 hours, steps must be whole hours")


def _facts(
    cursor: Cursor, directory: Path, question: Question, table: str
) -> tuple[str, dict[str, Any]]:
    """Write the rows to sum up: whole hours from a table of sums, the rest from spans."""
    window = question.window
    where, values = question.conditions()
    values_of, measures = COLUMNS[table]
    wanted = (f"{_label(question.group)} AS grp", _step("at_ns", window), *measures)

    def spans(start_ns: int, end_ns: int) -> str:
        within = f"{where} AND started_ns >= {start_ns} AND started_ns < {end_ns}"
        source = Relation.between(cursor, directory, start_ns, end_ns - 1)
        return f"SELECT {', '.join(wanted)} FROM ({source.select(values_of, within)})"

    first, last = _whole_hours(window)
    if first >= last:
        return spans(window.start_ns, window.end_ns), values
    hours = f"hour_ns >= {first} AND hour_ns < {last}"
    not_rolled = f"started_ns >= {first} AND started_ns < {last} AND seq > {_rolled_seq(cursor)}"
    live = Relation(directory, ()).select(values_of, f"{where} AND {not_rolled}")
    parts = [
        f"SELECT {', '.join(wanted)} FROM"
        f" (SELECT hour_ns AS at_ns, * FROM {table} WHERE {hours} AND {where})",
        f"SELECT {', '.join(wanted)} FROM ({live})",
    ]
    edges = [(window.start_ns, first), (last, window.end_ns)]
    parts.extend(spans(start, end) for start, end in edges if start < end)
    return " UNION ALL ".join(parts), values


COLUMNS: Final = {
    "usage_hourly": (USAGE, ("error", "spans", *USAGE_SUMS)),
    "latency_hourly": (LATENCY, ("bucket", "spans")),
}
"""Table of sums -> what a span adds to it, and which columns are read."""


def _run_facts(
    window: Window, scope: Scope, columns: str, where: str
) -> tuple[str, dict[str, Any]]:
    wanted = _given(scope)
    for name in ("model", "tool", "agent"):
        if name in wanted:
            raise QueryError(f"a run has many of those: ask by {name} instead of by workflow")
    parts = [where, *(f"{name} = ${name}" for name in wanted)]
    return (
        f"SELECT workflow AS grp, {_step('started_ns', window)}, {columns} FROM runs"
        f" WHERE started_ns >= {window.start_ns} AND started_ns < {window.end_ns}"
        f" AND {' AND '.join(parts)}"
    ), wanted


def _kinds(by: GroupBy, scope: Scope) -> Sequence[str]:
    if scope.tool is not None and by is not GroupBy.TOOL:
        raise QueryError("only tool calls have a tool; ask by tool")
    if scope.model is not None and by is not GroupBy.MODEL:
        raise QueryError("only LLM calls have a model; ask by model")
    return KINDS[by]


def _whole_hours(window: Window) -> tuple[int, int]:
    """Return from when to when hourly sums can be used; empty where they cannot."""
    is_fine = window.step_ns is not None and window.step_ns % HOUR_NS
    if is_fine or window.end_ns - window.start_ns <= SHORT_NS:
        return window.end_ns, window.end_ns
    return -(-window.start_ns // HOUR_NS) * HOUR_NS, window.end_ns // HOUR_NS * HOUR_NS


def _rolled_seq(cursor: Cursor) -> int:
    row = cursor.execute("SELECT rolled_seq FROM state").fetchone()
    return row[0] if row else 0


def _label(column: str) -> str:
    return f"coalesce({column}, '{UNKNOWN}')"


def _step(column: str, window: Window) -> str:
    """Write where the step begins that a time is in; the first begins with the window."""
    if window.step_ns is None:
        return f"CAST({window.start_ns} AS BIGINT) AS step_ns"
    start = f"{column} - {column} % {window.step_ns}"
    return f"greatest({start}, {window.start_ns}) AS step_ns"


def _given(scope: Scope) -> dict[str, Any]:
    values = {name: getattr(scope, name) for name in Scope.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}


def _middle_s(bucket: int) -> float:
    return float(GROWTH ** (bucket + 0.5)) / 1e9


def _count_errors(
    rows: Iterable[tuple[str, int, str | None, int]], failures: frozenset[str]
) -> list[ErrorCount]:
    """Fold ordered rows of group, step, error, count into one count per group and step."""
    totals: dict[tuple[str, int], int] = defaultdict(int)
    classes: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for group, at_ns, error, count in rows:
        totals[group, at_ns] += count
        if error is not None:
            classes[group, at_ns][error] = count
    return [
        ErrorCount(
            group=group,
            at_ns=at_ns,
            total=total,
            failed=sum(n for error, n in classes[group, at_ns].items() if error in failures),
            classes=classes[group, at_ns],
        )
        for (group, at_ns), total in totals.items()
    ]
