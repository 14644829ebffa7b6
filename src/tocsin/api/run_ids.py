"""Ids of runs as people give them: whole, the beginning, or shortened in the middle."""

from typing import Final

from tocsin.errors import QueryError
from tocsin.store.base import RunReader, RunView

__all__ = ["WHOLE", "find_run", "shorten"]

WHOLE: Final = 16
"""Ids up to this length, such as those of OTLP, are never shortened."""
SHOWN: Final = 4


def shorten(run_id: str) -> str:
    """Shorten an id in the middle; `find_run` takes the result."""
    return run_id if len(run_id) <= WHOLE else f"{run_id[: WHOLE - 1 - SHOWN]}…{run_id[-SHOWN:]}"


def find_run(store: RunReader, asked: str) -> RunView | None:
    """Read the run with an id, or the only one whose id begins so; "…" or "..." leaves a gap.

    Raises QueryError where several runs would fit.
    """
    view = store.run(asked)
    if view is not None:
        return view
    start, _, end = asked.replace("...", "…").partition("…")
    found = store.run_ids(start, end, limit=3) if start else []
    if len(found) > 1:
        some = ", ".join(found[:2]) + (", …" if len(found) > 2 else "")
        raise QueryError(f"several runs have ids like {asked[:100]!r} ({some}); write more of it")
    return store.run(found[0]) if found else None
