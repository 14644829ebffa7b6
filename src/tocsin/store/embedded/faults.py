"""What DuckDB says when it refuses, told to a person."""

import re
from pathlib import Path
from typing import Final

import duckdb

from tocsin.errors import StoreError

__all__ = ["REFUSALS", "explain", "is_fatal"]

REFUSALS: Final = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.OutOfMemoryException,
    duckdb.ConnectionException,
    duckdb.TransactionException,
    duckdb.SerializationException,
)
"""Errors of the disk, the machine or the database, as opposed to mistakes in a query."""

HOLDER: Final = re.compile(r"lock is held in (?P<program>.+?)(?: \(PID (?P<pid>\d+)\))")
FULL: Final = ("no space left", "disk quota", "file too large", "disk is full", "enospc")


def is_fatal(error: BaseException) -> bool:
    """Tell whether DuckDB has shut the database and it must be opened again."""
    text = str(error).lower()
    return isinstance(error, duckdb.FatalException) or "invalidated" in text


def explain(error: BaseException, path: Path) -> StoreError:
    """Say what is wrong with the database at a path, and what to do about it."""
    text = str(error)
    holder = HOLDER.search(text)
    if holder is not None:
        return StoreError(
            f"{path.parent} is in use by process {holder['pid']} ({holder['program']}); "
            "stop that process or choose another data directory"
        )
    if any(word in text.lower() for word in FULL):
        return StoreError(
            f"the disk of {path.parent} is full, or a limit on file sizes is reached; "
            f"make room: what was committed is safe, what was not will be tried again ({text})"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return StoreError(f"the database reached its memory limit: {text}")
    return StoreError(f"{path}: {text}")
