"""Small numbers for what spans and runs are grouped by, so that questions compare integers."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from arro3.core import Array, DataType, Table

from tocsin.model.span import Kind
from tocsin.store.base import StoredRun, StoredSpan
from tocsin.store.embedded.cursor import Cursor
from tocsin.store.embedded.rows import text_array

__all__ = ["Key", "Labels", "key_of_run", "key_of_span"]

MAX_LABELS: Final = 20_000
OTHER: Final = "_other"
LABELLED: Final = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.TOOL, Kind.AGENT})
"""Kinds of span that questions are about."""
NAMED: Final = frozenset({Kind.TOOL, Kind.AGENT})


Key: TypeAlias = tuple[str, str, str | None, str | None, str | None, str | None, str | None]
"""What one label stands for: the values of `FIELDS`."""
FIELDS: Final = ("kind", "workflow", "name", "model", "agent", "service", "environment")
"""Columns of `labels`."""


class Labels:
    """Key -> label, as far as committed. Only the writing thread uses it.

    Beyond `MAX_LABELS`, everything of a kind that is new is `_other`: names that differ with every
    span would otherwise fill the memory.
    """

    def __init__(self) -> None:
        self._known: dict[Key, int] | None = None

    def forget(self) -> None:
        """Read them anew next time: what was assigned may not have been committed."""
        self._known = None

    def assign(self, cursor: Cursor, keys: Sequence[Key | None]) -> list[int | None]:
        """Return the label of each key, new ones where need be; inside a transaction.

        Whoever calls this must `forget` when the transaction fails.
        """
        if self._known is None:
            rows = cursor.execute(f"SELECT {', '.join(FIELDS)}, label FROM labels").fetchall()
            self._known = {row[:-1]: row[-1] for row in rows}
        known, new = self._known, {}
        number = max(known.values(), default=0)
        for key in dict.fromkeys(keys):
            if key is None or key in known:
                continue
            stored = key if len(known) < MAX_LABELS else _other(key)
            if stored not in known:
                number += 1
                known[stored] = new[stored] = number
        if new:
            _insert(cursor, new)
        return [None if key is None else known.get(key) or known[_other(key)] for key in keys]


def key_of_span(stored: StoredSpan) -> Key | None:
    """Return what a span is grouped by; None for kinds that no question is about."""
    span = stored.span
    kind = span.kind
    if kind not in LABELLED:
        return None
    name = span.name if kind in NAMED else None
    place = (span.agent, span.service, span.environment)
    return (kind, stored.workflow, name, span.model, *place)


def key_of_run(stored: StoredRun) -> Key:
    """Return what a run is grouped by."""
    place = (None, stored.service, stored.environment)
    return (Kind.RUN.value, stored.run.workflow, None, None, *place)


def _other(key: Key) -> Key:
    return (key[0], OTHER, OTHER, OTHER, OTHER, None, None)


def _insert(cursor: Cursor, labels: dict[Key, int]) -> None:
    columns = zip(*labels, strict=True)
    arrays = [text_array(list(values)) for values in columns]
    arrays.append(Array(list(labels.values()), DataType.int32()))
    cursor.register("new_labels", Table.from_arrays(arrays, names=[*FIELDS, "label"]))
    cursor.execute("INSERT INTO labels BY NAME FROM new_labels")
    cursor.unregister("new_labels")
