"""Latency, errors and usage by group and step, from hourly sums wherever those suffice."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tocsin.errors import QueryError
from tocsin.model.label import UNKNOWN
from tocsin.model.span import ErrorClass
from tocsin.store.base import FAILED, ErrorCount, GroupBy, Latency, Scope, UsageSum, Window
from tocsin.store.embedded.cursor import Cursor, Row, first_row
from tocsin.store.embedded.relation import Relation
from tocsin.store.embedded.rollup import HOUR_NS, LATENCY, USAGE
from tocsin.store.embedded.sketch import bucket_of, middle_s, percentiles

__all__ = ["errors", "latency", "usage"]

SHORT_NS: Final = 2 * HOUR_NS
"""Windows up to this are read span by span."""
LONGEST_FINE_NS: Final = 24 * HOUR_NS
MAX_STEPS: Final = 2_000
PERCENTS: Final = (50, 95, 99)
SUMS: Final = (
    *("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "usage_missing", "unpriced", "cost_usd"),
)
RUN_LATENCY: Final = ("label", bucket_of("ended_ns - started_ns"), "1")
RUN_ERRORS: Final = ("label", "nullif(outcome, 'ok')", "1")


class Subject(msgspec.Struct, frozen=True):
    """What is compared: rows of some kinds, grouped by a column of `labels`."""

    kinds: Sequence[str]
    column: str
    scope: dict[str, str]
    """Name in a `Scope` -> column of `labels`; others do not apply."""

    def select(self, scope: Scope) -> tuple[str, dict[str, Any]]:
        """Write the query for labels and their groups; QueryError for a scope that is off."""
        wanted = {name: getattr(scope, name) for name in Scope.__struct_fields__}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        for name in wanted:
            if name not in self.scope:
                raise QueryError(f"there is no {name} to go by here; leave it out, or group by it")
        kinds = ", ".join(f"'{kind}'" for kind in self.kinds)
        parts = [f"kind IN ({kinds})", *(f"{self.scope[name]} = ${name}" for name in wanted)]
        group = f"coalesce({self.column}, '{UNKNOWN}')"
        return f"SELECT label, {group} AS grp FROM labels WHERE {' AND '.join(parts)}", wanted


EVERYWHERE: Final = {name: name for name in ("workflow", "service", "environment")}
BY_AGENT: Final = EVERYWHERE | {"agent": "agent"}
MODEL_SCOPE: Final = BY_AGENT | {"model": "model"}
MODEL_CALLS: Final = ("llm", "embedding")
SUBJECTS: Final = {
    GroupBy.WORKFLOW: Subject(("run",), "workflow", EVERYWHERE),
    GroupBy.MODEL: Subject(("llm",), "model", MODEL_SCOPE),
    GroupBy.TOOL: Subject(("tool",), "name", BY_AGENT | {"tool": "name"}),
    GroupBy.AGENT: Subject(("agent",), "name", EVERYWHERE | {"agent": "name"}),
}
USAGE_SUBJECTS: Final = {
    GroupBy.WORKFLOW: Subject(MODEL_CALLS, "workflow", MODEL_SCOPE),
    GroupBy.MODEL: Subject(MODEL_CALLS, "model", MODEL_SCOPE),
    GroupBy.AGENT: Subject(MODEL_CALLS, "agent", MODEL_SCOPE),
}


class Grid(msgspec.Struct, frozen=True):
    """Groups and steps: a point is group * len(starts) + step."""

    window: Window
    groups: list[str]
    origin_ns: int
    """Where the first step would begin if the window did not cut it."""
    step_ns: int
    starts_ns: list[int]
    """When each step begins."""

    @classmethod
    def over(cls, window: Window, groups: list[str]) -> "Grid":
        """Lay steps over a window; one where none are asked for."""
        start, end = window.start_ns, window.end_ns
        step = window.step_ns or end - start
        origin = start - start % step if window.step_ns else start
        starts = [max(start, step_start) for step_start in range(origin, end, step)]
        return cls(window, groups, origin, step, starts)

    @property
    def point(self) -> str:
        """The point of a row, as an SQL expression."""
        return f"(grp * {len(self.starts_ns)} + step)"

    @property
    def step_of_time(self) -> str:
        """The step of a span or run, as an SQL expression."""
        return f"CAST((started_ns - {self.origin_ns}) // {self.step_ns} AS INTEGER) AS step"

    @property
    def step_of_hour(self) -> str:
        """The step of an hourly sum, as an SQL expression."""
        if self.window.step_ns is None:
            return "0 AS step"
        return f"(hour - {self.origin_ns // HOUR_NS}) // {self.step_ns // HOUR_NS} AS step"

    def name(self, point: int) -> tuple[str, int]:
        """Return the group of a point, and when its step begins."""
        group, step = divmod(point, len(self.starts_ns))
        return self.groups[group], self.starts_ns[step]


def latency(
    cursor: Cursor, directory: Path, by: GroupBy, window: Window, scope: Scope
) -> list[Latency]:
    """Compare durations, by group and step; see `SpanStore.latency`."""
    grid, wanted, values = _prepare(cursor, SUBJECTS[by], window, scope)
    if by is GroupBy.WORKFLOW:
        source = _run_facts(grid, RUN_LATENCY)
    else:
        source = _span_facts(cursor, directory, grid, "latency_hourly")
    facts = cursor.execute(
        f"WITH wanted AS ({wanted}), facts(step, label, bucket, spans) AS ({source})"
        f" SELECT {grid.point} AS point, bucket, spans FROM facts JOIN wanted USING (label)",
        values,
    ).fetchnumpy()
    found = percentiles(facts["point"], facts["bucket"], facts["spans"], PERCENTS)
    result = []
    for point, count, *buckets in found:
        group, at_ns = grid.name(point)
        p50, p95, p99 = map(middle_s, buckets)
        result.append(
            Latency(group=group, at_ns=at_ns, count=count, p50_s=p50, p95_s=p95, p99_s=p99)
        )
    return result


def errors(
    cursor: Cursor, directory: Path, by: GroupBy, window: Window, scope: Scope
) -> list[ErrorCount]:
    """Compare failures, by group and step; see `SpanStore.errors`."""
    grid, wanted, values = _prepare(cursor, SUBJECTS[by], window, scope)
    failures = frozenset[str](FAILED)
    if by is GroupBy.WORKFLOW:
        facts = _run_facts(grid, RUN_ERRORS)
    else:
        failures = frozenset(ErrorClass) - {ErrorClass.CANCELLED}
        source = _span_facts(cursor, directory, grid, "usage_hourly")
        facts = f"SELECT step, label, error, spans FROM ({source})"
    rows = cursor.execute(
        f"WITH wanted AS ({wanted}), facts(step, label, error, spans) AS ({facts})"
        f" SELECT {grid.point} AS point, error, CAST(sum(spans) AS BIGINT)"
        " FROM facts JOIN wanted USING (label) GROUP BY ALL ORDER BY point, error",
        values,
    ).fetchall()
    return _count_errors(grid, rows, failures)


def usage(
    cursor: Cursor, directory: Path, by: GroupBy, window: Window, scope: Scope
) -> list[UsageSum]:
    """Compare tokens and dollars, by group and step; see `SpanStore.usage`."""
    if by is GroupBy.TOOL:
        raise QueryError("tools use no tokens; ask for usage by workflow, model or agent")
    grid, wanted, values = _prepare(cursor, USAGE_SUBJECTS[by], window, scope)
    sums = [
        f"sum({name})" if name == "cost_usd" else f"CAST(coalesce(sum({name}), 0) AS BIGINT)"
        for name in SUMS
    ]
    rows = cursor.execute(
        f"WITH wanted AS ({wanted}) SELECT {grid.point} AS point, {', '.join(sums)}"
        f" FROM ({_span_facts(cursor, directory, grid, 'usage_hourly')})"
        " JOIN wanted USING (label) GROUP BY ALL ORDER BY point",
        values,
    ).fetchall()
    return [_usage_sum(grid, row) for row in rows]


def _usage_sum(grid: Grid, row: Row) -> UsageSum:
    group, at_ns = grid.name(row[0])
    return UsageSum(group=group, at_ns=at_ns, **dict(zip(SUMS, row[1:], strict=True)))


def _prepare(
    cursor: Cursor, subject: Subject, window: Window, scope: Scope
) -> tuple[Grid, str, dict[str, Any]]:
    """Return the grid, and the query (with its values) for labels and their group's number."""
    _check(window)
    labels, values = subject.select(scope)
    names = cursor.execute(f"SELECT DISTINCT grp FROM ({labels}) ORDER BY grp", values).fetchall()
    grid = Grid.over(window, [row[0] for row in names])
    number = "CAST(dense_rank() OVER (ORDER BY grp) - 1 AS INTEGER)"
    return grid, f"SELECT label, {number} AS grp FROM ({labels})", values


def _check(window: Window) -> None:
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


def _span_facts(cursor: Cursor, directory: Path, grid: Grid, table: str) -> str:
    """Write the rows to sum up: whole hours from a table of sums, the rest from spans."""
    names, values = COLUMNS[table]
    columns = (grid.step_of_time, *values)

    def spans(start_ns: int, end_ns: int) -> str:
        source = Relation.between(cursor, directory, start_ns, end_ns - 1)
        return source.select(columns, f"started_ns >= {start_ns} AND started_ns < {end_ns}")

    window = grid.window
    first, last = _whole_hours(window)
    if first >= last:
        return spans(window.start_ns, window.end_ns)
    row = first_row(cursor, "SELECT rolled_seq FROM state")
    not_rolled = f"seq > {row[0] if row else 0} AND started_ns >= {first} AND started_ns < {last}"
    edges = [(window.start_ns, first), (last, window.end_ns)]
    return " UNION ALL ".join(
        (
            f"SELECT {grid.step_of_hour}, {', '.join(names)} FROM {table}"
            f" WHERE hour >= {first // HOUR_NS} AND hour < {last // HOUR_NS}",
            Relation(directory, ()).select(columns, not_rolled),
            *(spans(start, end) for start, end in edges if start < end),
        )
    )


COLUMNS: Final = {
    "usage_hourly": (("label", "error", "spans", *SUMS), USAGE),
    "latency_hourly": (("label", "bucket", "spans"), LATENCY),
}
"""Table of sums -> its columns that are read, and what a span would add to them."""


def _run_facts(grid: Grid, columns: Sequence[str]) -> str:
    window = grid.window
    return (
        f"SELECT {grid.step_of_time}, {', '.join(columns)} FROM runs WHERE outcome IS NOT NULL"
        f" AND started_ns >= {window.start_ns} AND started_ns < {window.end_ns}"
    )


def _whole_hours(window: Window) -> tuple[int, int]:
    """Return from when to when hourly sums can be used; empty where they cannot."""
    is_fine = window.step_ns is not None and window.step_ns % HOUR_NS
    if is_fine or window.end_ns - window.start_ns <= SHORT_NS:
        return window.end_ns, window.end_ns
    return -(-window.start_ns // HOUR_NS) * HOUR_NS, window.end_ns // HOUR_NS * HOUR_NS


def _count_errors(
    grid: Grid, rows: Iterable[tuple[int, str | None, int]], failures: frozenset[str]
) -> list[ErrorCount]:
    """Fold ordered rows of point, error, count into one count per point."""
    totals: dict[int, int] = defaultdict(int)
    classes: dict[int, dict[str, int]] = defaultdict(dict)
    for point, error, count in rows:
        totals[point] += count
        if error is not None:
            classes[point][error] = count
    result = []
    for point, total in totals.items():
        group, at_ns = grid.name(point)
        failed = sum(count for error, count in classes[point].items() if error in failures)
        result.append(
            ErrorCount(group=group, at_ns=at_ns, total=total, failed=failed, classes=classes[point])
        )
    return result
