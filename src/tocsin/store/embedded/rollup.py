"""Hourly sums, so that a week is read from thousands of rows and not from millions of spans."""

from typing import Final

from tocsin.store.embedded.cursor import Cursor
from tocsin.store.embedded.sketch import bucket_of

__all__ = ["HOUR_NS", "LATENCY", "USAGE", "compact", "roll_up"]

HOUR_NS: Final = 3_600_000_000_000
MEASURES: Final = (
    *("spans", "calls", "input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "reasoning_tokens", "usage_missing", "unpriced", "cost_usd"),
)
MODEL_CALL: Final = "kind IN ('llm', 'embedding')"
USAGE: Final = (
    *("label", "error", "1 AS spans", "calls", "input_tokens"),
    *("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    f"CAST({MODEL_CALL} AND input_tokens IS NULL AND coalesce(error, 'cancelled') = 'cancelled'"
    " AS INTEGER) AS usage_missing",
    f"CAST({MODEL_CALL} AND input_tokens IS NOT NULL AND cost_usd IS NULL AS INTEGER) AS unpriced",
    "cost_usd",
)
"""What a span adds to `usage_hourly`."""
LATENCY: Final = (
    "label",
    f"{bucket_of('ended_ns - started_ns')} AS bucket",
    "1 AS spans",
)
"""What a span adds to `latency_hourly`."""

TABLES: Final = (
    ("usage_hourly", USAGE, "error", MEASURES),
    ("latency_hourly", LATENCY, "bucket", ("spans",)),
)


def roll_up(cursor: Cursor, last_seq: int) -> None:
    """Add the spans up to last_seq that are not in the hourly sums yet; inside a transaction."""
    for table, values, key, measures in TABLES:
        sums = ", ".join(f"sum({measure})" for measure in measures)
        cursor.execute(
            f"INSERT INTO {table} SELECT CAST(started_ns // {HOUR_NS} AS INTEGER) AS hour,"
            f" label, {key}, {sums} FROM (SELECT started_ns, {', '.join(values)} FROM spans"
            " WHERE label IS NOT NULL AND seq > (SELECT rolled_seq FROM state)"
            " AND seq <= $last_seq) GROUP BY ALL ORDER BY hour",
            {"last_seq": last_seq},
        )
    cursor.execute("UPDATE state SET rolled_seq = greatest(rolled_seq, ?)", [last_seq])


def compact(cursor: Cursor, start_ns: int, end_ns: int) -> None:
    """Make one row of the several that a key may have in a span of time; inside a transaction."""
    bounds = {"start": start_ns // HOUR_NS, "end": end_ns // HOUR_NS}
    where = "hour >= $start AND hour < $end"
    for table, _, key, measures in TABLES:
        sums = ", ".join(f"sum({measure}) AS {measure}" for measure in measures)
        cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE compacted AS SELECT hour, label, {key}, {sums}"
            f" FROM {table} WHERE {where} GROUP BY ALL ORDER BY hour, label, {key}",
            bounds,
        )
        cursor.execute(f"DELETE FROM {table} WHERE {where}", bounds)
        cursor.execute(f"INSERT INTO {table} FROM compacted")
    cursor.execute("DROP TABLE temp.compacted")
