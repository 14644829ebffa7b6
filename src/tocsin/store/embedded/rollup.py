"""Hourly sums, so that a week is read from thousands of rows and not from millions of spans."""

from typing import Final

from duckdb import DuckDBPyConnection as Cursor

__all__ = ["GROWTH", "HOUR_NS", "KEYS", "LATENCY", "USAGE", "bucket_of", "compact", "roll_up"]

HOUR_NS: Final = 3_600_000_000_000
GROWTH: Final = 1.02
"""Each latency bucket ends this much above the last: its middle is within 1 % of what is in it."""
LEAST_NS: Final = 1_000

KEYS: Final = ("kind", "workflow", "name", "model", "agent", "service", "environment")
MEASURES: Final = (
    *("spans", "calls", "input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "reasoning_tokens", "usage_missing", "unpriced", "cost_usd"),
)
USAGE_KEYS: Final = (*KEYS, "error")
LATENCY_KEYS: Final = (*KEYS, "bucket")
COUNTED: Final = "kind IN ('llm', 'embedding', 'tool', 'agent')"
NAMED: Final = "CASE WHEN kind IN ('tool', 'agent') THEN name END AS name"
MODEL_CALL: Final = "kind IN ('llm', 'embedding')"


def bucket_of(duration_ns: str) -> str:
    """Write the latency bucket of a duration, which is an SQL expression in nanoseconds."""
    return f"CAST(floor(ln(greatest({duration_ns}, {LEAST_NS})) / ln({GROWTH})) AS SMALLINT)"


_KEY_VALUES: Final = tuple(NAMED if key == "name" else key for key in KEYS)
USAGE: Final = (
    *("started_ns AS at_ns", *_KEY_VALUES, "error", "1 AS spans", "calls"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    "reasoning_tokens",
    f"CAST({MODEL_CALL} AND input_tokens IS NULL AND coalesce(error, 'cancelled') = 'cancelled'"
    " AS INTEGER) AS usage_missing",
    f"CAST({MODEL_CALL} AND input_tokens IS NOT NULL AND cost_usd IS NULL AS INTEGER) AS unpriced",
    "cost_usd",
)
"""What a span adds to `usage_hourly`."""
LATENCY: Final = (
    *("started_ns AS at_ns", *_KEY_VALUES),
    *(f"{bucket_of('ended_ns - started_ns')} AS bucket", "1 AS spans"),
)
"""What a span adds to `latency_hourly`."""

TABLES: Final = (
    ("usage_hourly", USAGE, USAGE_KEYS, MEASURES),
    ("latency_hourly", LATENCY, LATENCY_KEYS, ("spans",)),
)


def roll_up(cursor: Cursor, last_seq: int) -> None:
    """Add the spans up to last_seq that are not in the hourly sums yet; inside a transaction."""
    for table, values, keys, measures in TABLES:
        sums = ", ".join(f"sum({measure})" for measure in measures)
        cursor.execute(
            f"INSERT INTO {table} SELECT at_ns - at_ns % {HOUR_NS}, {', '.join(keys)}, {sums}"
            f" FROM (SELECT {', '.join(values)} FROM spans WHERE {COUNTED}"
            " AND seq > (SELECT rolled_seq FROM state) AND seq <= $last_seq) GROUP BY ALL",
            {"last_seq": last_seq},
        )
    cursor.execute("UPDATE state SET rolled_seq = greatest(rolled_seq, ?)", [last_seq])


def compact(cursor: Cursor, start_ns: int, end_ns: int) -> None:
    """Make one row of the several that a key may have in a span of time; inside a transaction."""
    bounds = {"start": start_ns, "end": end_ns}
    where = "hour_ns >= $start AND hour_ns < $end"
    for table, _, keys, measures in TABLES:
        sums = ", ".join(f"sum({measure}) AS {measure}" for measure in measures)
        cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE compacted AS SELECT hour_ns, {', '.join(keys)}, {sums}"
            f" FROM {table} WHERE {where} GROUP BY ALL ORDER BY kind, hour_ns",
            bounds,
        )
        cursor.execute(f"DELETE FROM {table} WHERE {where}", bounds)
        cursor.execute(f"INSERT INTO {table} FROM compacted")
    cursor.execute("DROP TABLE temp.compacted")
