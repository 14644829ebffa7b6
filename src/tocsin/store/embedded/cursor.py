"""One thread's view of the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from duckdb import DuckDBPyConnection as Cursor

__all__ = ["Cursor", "Row", "first_row"]

Row = tuple[Any, ...]


def first_row(
    cursor: Cursor, query: str, values: Sequence[object] | Mapping[str, object] = ()
) -> Row | None:
    """Return the first row of a result, or None. Reads it all: DuckDB 2 refuses half-read ones."""
    rows = cursor.execute(query, values).fetchall()
    return rows[0] if rows else None
