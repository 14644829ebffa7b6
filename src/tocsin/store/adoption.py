"""Which spans of a trace are a run's, when some were stored before anyone knew their run."""

from collections.abc import Sequence

from tocsin.store.base import StoredSpan

__all__ = ["spans_of_run"]


def spans_of_run(
    run_id: str, runs: frozenset[str], spans: Sequence[StoredSpan]
) -> list[StoredSpan]:
    """Choose a run's spans from all of its trace; runs: ids of the trace's stored runs.

    The spans of a long run are stored while it goes on, under the highest span known by then. Such
    a span belongs to the run of what is above it, or else to the only run there is.
    """
    parents = {stored.span.span_id: stored.span.parent_id for stored in spans}
    owners: dict[str, str | None] = {
        stored.span.span_id: stored.run_id for stored in spans if stored.run_id in runs
    }
    only = next(iter(runs)) if len(runs) == 1 else None

    def owner(stored: StoredSpan) -> str | None:
        seen: set[str] = set()
        at: str | None = stored.span.span_id
        while at is not None and at not in owners and at not in seen:
            seen.add(at)
            at = parents.get(at)
        found = owners.get(at) if at is not None else None
        owners.update(dict.fromkeys(seen, found or only))
        return owners[stored.span.span_id]

    return [stored for stored in spans if owner(stored) == run_id]
