"""A trace that is not whole yet: what its runs may have taken at most, and what they have at least.

Spans come when they end, in any order, and the root last. So what is summed up as spans come is an
upper bound, which costs next to nothing: several spans may tell of one call. Only where it passes a
limit are the spans folded, into parts that certainly belong to one run.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Run
from tocsin.model.span import Kind, Span
from tocsin.runs.fold import Placed, fold
from tocsin.runs.limits import WorkflowSLA
from tocsin.runs.tree import FRAMES
from tocsin.sources.tocsin_attributes import NESTED, RUN_ID, RUN_OUTCOME

__all__ = ["NEVER_NS", "SUMMED", "Flight", "OpenRun", "PartOfRun", "parts_of_runs"]

SUMMED: Final = ("tokens", "cost", "turns")
NEVER: Final = float("inf")
NEVER_NS: Final = 1 << 62


class OpenRun(msgspec.Struct):
    """A run whose spans name it, and whose report has not come."""

    run_id: str
    workflow: str
    started_ns: int
    """At the latest; by the sender's clock."""
    look_ns: int = NEVER_NS
    """When its latency is looked at next, on our monotonic clock."""


class Flight(msgspec.Struct):
    """What is known of a trace as its spans come in.

    bounds: limit -> at most what any of its runs has taken. floors: limit -> bound up to which no
    run can have broken it.
    """

    trace_id: str
    bounds: dict[str, float]
    floors: dict[str, float]
    levels: dict[str, WorkflowSLA]
    """Of the workflows that spans have named."""
    runs: dict[str, OpenRun]
    ended: set[str]
    """Runs whose report has come."""
    clock_ns: int = NEVER_NS
    """What to add to the senders' clock to get ours, at most: no span came before it ended."""
    has_root: bool = False
    """It is whole, or will be at once: nothing is to be guessed any more."""
    is_awaited: bool = False
    """A part of it that names no run is on the list of those to be looked at for their latency."""
    was_late: bool = False
    """Such a part has been found to be late."""
    parts: int = 1
    """In how many its runs fell when they were looked at last."""
    is_joined: bool = False
    """A span has come that may join some of them."""

    @classmethod
    def of(cls, trace_id: str) -> "Flight":
        """Begin with nothing."""
        nothing = dict.fromkeys((*SUMMED, "first_token"), 0.0)
        return cls(trace_id, nothing, {}, {}, {}, set())

    def hold_to(self, workflow: str, sla: WorkflowSLA) -> None:
        """Learn that a run of a workflow is in the trace."""
        self.levels[workflow] = sla
        for limit, level in sla.levels.items():
            self.floors[limit] = min(self.floors.get(limit, NEVER), level)

    def add(self, span: Span, cost_usd: float | None, now_ns: int) -> None:
        """Add a span that has come. cost_usd: its price, where dollars are limited."""
        bounds = self.bounds
        self.clock_ns = min(self.clock_ns, now_ns - span.ended_ns)
        if span.usage is not None:
            bounds["tokens"] += span.usage.total_tokens
            bounds["cost"] += cost_usd or 0.0
        if span.kind is Kind.STEP and RUN_ID in span.attributes and NESTED not in span.attributes:
            bounds["turns"] += 1
        if span.first_token_s is not None:
            bounds["first_token"] = max(bounds["first_token"], span.first_token_s)
        if span.parent_id is None and RUN_ID not in span.attributes:
            self.has_root = True
        if self.parts > 1 and span.kind in FRAMES:
            self.is_joined = True

    def note_run(self, span: Span) -> OpenRun | None:
        """Take note of the run that a span names; return it if it goes on."""
        run_id = span.attributes.get(RUN_ID)
        if run_id is None or run_id in self.ended:
            return None
        if RUN_OUTCOME in span.attributes:
            self.runs.pop(run_id, None)
            self.ended.add(run_id)
            return None
        run = self.runs.get(run_id)
        if run is None:
            run = self.runs[run_id] = OpenRun(run_id, span.workflow or UNKNOWN, span.started_ns)
        run.started_ns = min(run.started_ns, span.started_ns)
        return run

    def passed_ns(self, started_ns: int, now_ns: int) -> int:
        """How long ago, at least, something began by the sender's clock; now_ns: by ours."""
        return now_ns - started_ns - self.clock_ns

    def is_due(self) -> bool:
        """Whether a run may have broken a limit since the parts were looked at."""
        if self.has_root:
            return False
        bounds, floors = self.bounds, self.floors
        if self.is_joined:  # nothing was added, but what was apart may be one
            floors = {limit: self._least(limit) for limit in floors}
        return any(bounds[limit] > floor for limit, floor in floors.items() if limit in bounds)

    def looked(self, slack: Mapping[str, float], parts: int) -> None:
        """Remember how much every run has left of its limits: a bound must grow by more than that.

        slack: limit -> the least that is left to any part; what is missing has none left.
        """
        self.parts, self.is_joined = parts, False
        for limit in self.floors:
            if limit in SUMMED:
                left = min(slack.get(limit, NEVER), self._least(limit))
                self.floors[limit] = self.bounds[limit] + left
            elif limit in self.bounds:
                self.floors[limit] = max(self.floors[limit], self.bounds[limit])

    def _least(self, limit: str) -> float:
        return min(sla.levels.get(limit, NEVER) for sla in self.levels.values())


class PartOfRun(msgspec.Struct, frozen=True):
    """Spans that belong to one run, which may have more; `run` is what they add up to."""

    run: Run
    spans: Sequence[Placed]
    is_identified: bool
    """Whether `run.run_id` is the run's: without its root, a run has no id."""
    goes_on: bool = False
    """Something around its spans has not ended, and belongs to the run."""


def parts_of_runs(spans: Sequence[Span]) -> list[PartOfRun]:
    """Part the spans of a trace that is not whole into those that are certainly of one run.

    What has the same parent is of the same run, unless it is an agent or workflow itself: then the
    parent that has not come may be around the run. (That parent may be a call which the one inside
    of it repeats; that a call holds several others which all tell tokens is not known to happen.)
    Parts that name no workflow are left out, and runs whose report has come.
    """
    missing = _missing_parents(spans)
    found = []
    for folded in fold([*spans, *missing.values()]):
        if folded.reported is not None:
            if not folded.reported:
                found.append(PartOfRun(folded.run, folded.spans, True, True))
            continue
        named = (one.span.workflow for one in folded.spans if one.span.workflow is not None)
        workflow = next(named, None)
        if workflow is not None:
            run = msgspec.structs.replace(folded.run, workflow=workflow)
            kept = [one for one in folded.spans if one.span.span_id not in missing]
            found.append(PartOfRun(run, kept, False, folded.root.span_id in missing))
    return found


def _missing_parents(spans: Iterable[Span]) -> dict[str, Span]:
    """Make a span for each that others are inside of and that has not come."""
    ids = {span.span_id for span in spans}
    made: dict[str, Span] = {}
    for span in spans:
        parent_id = span.parent_id
        if parent_id is None or parent_id in ids or RUN_ID in span.attributes:
            continue
        known = made.get(parent_id)
        made[parent_id] = Span(
            trace_id=span.trace_id,
            span_id=parent_id,
            parent_id=None,
            kind=Kind.OTHER,
            name="",
            started_ns=min(span.started_ns, known.started_ns if known else span.started_ns),
            ended_ns=max(span.ended_ns, known.ended_ns if known else span.ended_ns),
        )
    return made
