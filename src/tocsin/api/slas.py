"""How well runs keep to their service levels, as JSON: /api/v1/slas."""

from collections.abc import Iterator, Mapping
from typing import Self

import msgspec
from starlette.requests import Request

from tocsin.api.answering import Answering, parameters_of
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.model.moment import NS_PER_S
from tocsin.runs.compliance import Kept, budget_left, burn_rate, windows_s
from tocsin.runs.limits import ANY_WORKFLOW, WorkflowSLA
from tocsin.store.base import RunReader
from tocsin.store.level_counts import SUCCESS, LevelCount, LevelQuery

__all__ = ["LevelDocument", "SlaRoutes", "SlasDocument", "WindowDocument"]


class WindowDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that ended in the last window_s seconds. share: of those that are known, 0 to 1."""

    window_s: float
    within: int
    beyond: int
    unknown: int
    """Runs of which nobody can say; they count neither way."""
    share: float | None
    """None without runs: no traffic is not 100 %."""
    burn_rate: float | None
    """Times as fast as the error budget would just last; None without a target or runs."""

    @classmethod
    def of(cls, kept: Kept, target: float | None) -> Self:
        """Describe counts."""
        return cls(
            window_s=kept.window_s,
            within=kept.within,
            beyond=kept.beyond,
            unknown=kept.unknown,
            share=kept.share,
            burn_rate=burn_rate(kept, target),
        )


class LevelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of one workflow."""

    workflow: str
    limit: str
    """success, latency, tokens, cost, first_token or turns."""
    threshold: float | None
    """In seconds, tokens, US dollars or turns; None for success."""
    target: float | None
    """Share of runs that must be within; None where none was set."""
    budget_left: float | None
    """Share of the error budget left in the longest window; below 0 once it is overspent."""
    windows: list[WindowDocument]
    """Ascending; the longest is the service level's own."""


class SlasDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All service levels, by workflow."""

    slas: list[LevelDocument]


class SlaRoutes:
    """Answers from stored runs, so a restart changes nothing."""

    def __init__(
        self,
        store: RunReader,
        slas: Mapping[str, WorkflowSLA],
        answering: Answering,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._slas = slas
        self._clock = clock
        self.routes = [answering.route("/api/v1/slas", self._levels)]

    def _levels(self, request: Request) -> SlasDocument:
        parameters = parameters_of(request)
        asked = parameters.text("workflow")
        parameters.check()
        found = [level for name in sorted(self._slas) for level in self._workflow(name, asked)]
        return SlasDocument(slas=found)

    def _workflow(self, name: str, asked: str | None) -> Iterator[LevelDocument]:
        """Describe the levels of one entry; those of "*" for each workflow that has no other."""
        sla, now_ns = self._slas[name], self._clock.wall_ns()
        workflow: str | None = name
        if name == ANY_WORKFLOW:
            if asked in self._slas:
                return
            workflow = asked
        elif asked not in (None, name):
            return
        windows = {now_ns - int(window * NS_PER_S): window for window in windows_s(sla)}
        query = LevelQuery(
            workflow=workflow,
            others=frozenset(self._slas),
            limits=sla.levels,
            starts_ns=tuple(windows),
            end_ns=now_ns + 1,
        )
        by_workflow: dict[str, list[LevelCount]] = {}
        for count in self._store.count_levels(query):
            by_workflow.setdefault(count.workflow, []).append(count)
        if name != ANY_WORKFLOW:
            by_workflow.setdefault(name, [])
        for seen, counts in by_workflow.items():
            yield from _describe(seen, sla, counts, windows)


def _describe(
    workflow: str, sla: WorkflowSLA, counts: list[LevelCount], windows: Mapping[int, float]
) -> Iterator[LevelDocument]:
    by_limit = {(count.limit, count.start_ns): count for count in counts}
    limits: dict[str, float | None] = {SUCCESS: None}
    limits |= sla.levels
    for limit, threshold in limits.items():
        kept = [
            _kept(window_s, by_limit.get((limit, start_ns)))
            for start_ns, window_s in windows.items()
        ]
        yield LevelDocument(
            workflow=workflow,
            limit=limit,
            threshold=threshold,
            target=sla.success,
            budget_left=budget_left(kept[-1], sla.success),
            windows=[WindowDocument.of(one, sla.success) for one in kept],
        )


def _kept(window_s: float, count: LevelCount | None) -> Kept:
    if count is None:
        return Kept(window_s=window_s, within=0, beyond=0, unknown=0)
    return Kept(window_s=window_s, within=count.within, beyond=count.beyond, unknown=count.unknown)
