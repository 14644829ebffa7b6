"""The live table and the sealed files, read as one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tocsin.store.embedded.cursor import Cursor
from tocsin.store.embedded.schema import SPAN_COLUMNS

__all__ = ["Relation", "SealedFile", "sealed_between"]

SINCE: Final = {column.name: column.since for column in SPAN_COLUMNS}
TYPES: Final = {column.name: column.type for column in SPAN_COLUMNS}


class SealedFile(msgspec.Struct, frozen=True):
    """A file of spans, and the schema version it was written with."""

    name: str
    version: int


class Relation(msgspec.Struct, frozen=True):
    """Spans as SQL: the live table, and those sealed files that may hold what is asked for."""

    directory: Path
    files: Sequence[SealedFile]

    @classmethod
    def between(
        cls, cursor: Cursor, directory: Path, first_ns: int, last_ns: int | None
    ) -> "Relation":
        """Take the files with spans that began from first_ns to last_ns, both included."""
        return cls(directory, sealed_between(cursor, first_ns, last_ns))

    def select(self, columns: Sequence[str], where: str) -> str:
        """Write a query of some columns of all spans for which a condition holds."""
        parts = [f"SELECT {', '.join(columns)} FROM spans WHERE {where}"]
        for version in sorted({file.version for file in self.files}):
            names = [file.name for file in self.files if file.version == version]
            paths = ", ".join(_quote(str(self.directory / name)) for name in names)
            # Older files lack newer columns; conditions must see those as NULL too.
            missing = [name for name, since in SINCE.items() if since > version]
            nulls = "".join(f", CAST(NULL AS {TYPES[name]}) AS {name}" for name in missing)
            source = f"read_parquet([{paths}], hive_partitioning = false)"
            source = f"(SELECT *{nulls} FROM {source})" if nulls else source
            parts.append(f"SELECT {', '.join(columns)} FROM {source} WHERE {where}")
        return " UNION ALL ".join(parts)


def sealed_between(cursor: Cursor, first_ns: int, last_ns: int | None) -> list[SealedFile]:
    """List the sealed files with spans that began from first_ns to last_ns, both included."""
    rows = cursor.execute(
        "SELECT file, version FROM sealed"
        " WHERE last_ns >= $first AND ($last IS NULL OR first_ns <= $last) ORDER BY file",
        {"first": first_ns, "last": last_ns},
    ).fetchall()
    return [SealedFile(*row) for row in rows]


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
