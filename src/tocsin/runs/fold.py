"""All spans of a trace, in any order -> its runs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Outcome, Run
from tocsin.model.span import ErrorClass, Kind, Span
from tocsin.runs.reported import WORK, reported_runs, total

__all__ = ["FoldedRun", "fold"]

CALLS: Final = frozenset({Kind.LLM, Kind.EMBEDDING})
SHELTERS: Final = frozenset({Kind.TOOL, *CALLS})
SIGNALS: Final = (Outcome.MAX_TURNS, Outcome.GUARDRAIL, Outcome.ERROR, Outcome.CANCELLED)


class FoldedRun(msgspec.Struct):
    """A run and its spans; `counted` are those that are work and no repetition of other work."""

    run: Run
    spans: list[Span]
    counted: list[Span]
    reported: bool | None = None
    """Whether its source has said how it ended; None for sources that report no runs."""


class Place(msgspec.Struct):
    """What is above a span, and below it."""

    in_run: bool = False
    in_call: bool = False
    shelters: int = 0
    """Tools and calls above."""
    call_below: bool = False
    rollup_below: bool = False


class Tree:
    """Spans by id and by parent; a span whose parent is unknown is a root.

    Everything is computed in passes over all spans: a hostile trace is as deep as it is long.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self.by_id: dict[str, Span] = {}
        for span in spans:
            self.by_id.setdefault(span.span_id, span)
        self.children: dict[str, list[Span]] = {}
        self.roots: list[Span] = []
        self._root_ids: set[str] = set()
        ordered = sorted(self.by_id.values(), key=lambda s: (s.started_ns, -s.ended_ns, s.span_id))
        for span in ordered:
            if span.parent_id in self.by_id and span.parent_id != span.span_id:
                self.children.setdefault(span.parent_id or "", []).append(span)
            else:
                self._add_root(span)
        self._break_circles(ordered)
        self.places = self._place()

    def _break_circles(self, ordered: list[Span]) -> None:
        """Make a root of the first span of each circle of parents, which nobody else reaches."""
        reached = {span.span_id for root in self.roots for span in self.below(root)}
        for span in ordered:
            if span.span_id not in reached:
                self.children[span.parent_id or ""].remove(span)
                self._add_root(span)
                reached.update(found.span_id for found in self.below(span))

    def below(self, span: Span) -> list[Span]:
        """A span and everything under it, parents first."""
        found, waiting = [], [span]
        while waiting:
            one = waiting.pop()
            found.append(one)
            waiting.extend(reversed(self.children.get(one.span_id, ())))
        return found

    def _place(self) -> dict[str, Place]:
        order = [span for root in self.roots for span in self.below(root)]
        places = {span.span_id: Place() for span in order}
        for span in order:
            above = places[span.span_id]
            for child in self.children.get(span.span_id, ()):
                place = places[child.span_id]
                place.in_run = above.in_run or span.kind is Kind.RUN
                place.in_call = above.in_call or span.kind in CALLS
                place.shelters = above.shelters + (span.kind in SHELTERS)
        for span in reversed(order):
            if span.span_id not in self._root_ids:
                below, above = places[span.span_id], places[span.parent_id or ""]
                is_rollup = span.kind is Kind.AGENT and span.usage is not None
                above.call_below = above.call_below or below.call_below or span.kind in CALLS
                above.rollup_below = above.rollup_below or below.rollup_below or is_rollup
        return places

    def _add_root(self, span: Span) -> None:
        self.roots.append(span)
        self._root_ids.add(span.span_id)


def fold(spans: Sequence[Span], silent: tuple[str, ...] = ()) -> list[FoldedRun]:
    """Part a trace's spans into runs and add each of them up.

    A run is the outermost span of kind RUN, else the outermost agent, else a local root with
    work below it. silent: scopes that record neither guardrails nor turns, so that some failures
    leave no error. Spans that name their run are taken at their word.
    """
    groups, others = reported_runs(spans)
    tree = Tree(others)
    return [
        *(_fold_reported(run_id, group) for run_id, group in groups.items()),
        *(_fold_run(tree, root, top, silent) for root in tree.roots for top in _tops(tree, root)),
    ]


def _fold_reported(run_id: str, spans: list[Span]) -> FoldedRun:
    run, is_reported = total(run_id, spans)
    return FoldedRun(run, spans, [span for span in spans if span.kind in WORK], is_reported)


def _tops(tree: Tree, root: Span) -> list[Span]:
    """Spans under a root, itself included, that are runs."""
    everything = tree.below(root)
    runs = [s for s in everything if s.kind is Kind.RUN and not tree.places[s.span_id].in_run]
    if len(runs) > 1:
        return runs
    return [root]


def _fold_run(tree: Tree, root: Span, top: Span, silent: tuple[str, ...]) -> FoldedRun:
    spans = tree.below(top)
    counted = _without_repetitions(tree, spans)
    named = next((s for s in spans if s.kind is Kind.RUN), None)
    named = named or next((s for s in spans if s.kind is Kind.AGENT), None) or top
    run = Run(
        run_id=top.span_id,
        trace_id=top.trace_id,
        workflow=_first(spans, lambda s: s.workflow) or named.name or UNKNOWN,
        started_ns=top.started_ns,
        started_mono_ns=0,
        conversation_id=_first([root, *spans], lambda s: s.conversation_id),
        ended_ns=max(span.ended_ns for span in spans),
    )
    _add_up(run, counted)
    run.outcome = _outcome(tree, top, spans, counted, silent)
    run.turns = sum(s.kind is Kind.LLM for s in counted)
    return FoldedRun(run, spans, counted)


def _first(spans: Iterable[Span], field: Callable[[Span], str | None]) -> str | None:
    return next((value for span in spans if (value := field(span)) is not None), None)


def _without_repetitions(tree: Tree, spans: list[Span]) -> list[Span]:
    """Leave out what tells of the same work twice: rollups, and a second instrumentor's calls."""
    seen_ids: set[str] = set()
    counted: list[Span] = []
    for span in spans:
        place = tree.places[span.span_id]
        if span.kind in CALLS:
            if place.in_call:
                continue
            if span.response_id is not None:
                if span.response_id in seen_ids:
                    continue
                seen_ids.add(span.response_id)
            counted.append(span)
        elif span.kind is Kind.AGENT and span.usage is not None:
            if not place.call_below and not place.rollup_below:
                counted.append(msgspec.structs.replace(span, kind=Kind.LLM, calls=1))
        elif span.kind in (Kind.TOOL, Kind.HANDOFF, Kind.GUARDRAIL, Kind.RETRIEVAL):
            counted.append(span)
    return counted


def _add_up(run: Run, counted: list[Span]) -> None:
    for span in counted:
        if span.kind in CALLS:
            run.llm_calls += 1
            if span.usage is None:
                run.usage_missing += span.error is None
            else:
                run.input_tokens += span.usage.input_tokens
                run.output_tokens += span.usage.output_tokens
        elif span.kind is Kind.TOOL:
            run.tool_calls += 1
        elif span.kind is Kind.HANDOFF:
            run.handoffs += 1


def _outcome(
    tree: Tree, top: Span, spans: list[Span], counted: list[Span], silent: tuple[str, ...]
) -> Outcome:
    signals = {
        span.outcome
        for span in spans
        if span.outcome is not None
        and span.kind in (Kind.RUN, Kind.AGENT, Kind.STEP)
        and not _is_sheltered(tree, span, top)
    }
    if top.outcome is not None:
        signals.add(top.outcome)
    if any(span.kind is Kind.GUARDRAIL and span.triggered for span in counted):
        signals.add(Outcome.GUARDRAIL)
    for signal in SIGNALS:
        if signal in signals:
            return signal
    calls = [span for span in counted if span.kind in CALLS and not _is_sheltered(tree, span, top)]
    if calls and calls[-1].error not in (None, ErrorClass.CANCELLED):
        return Outcome.ERROR
    if silent and any(s.kind is Kind.AGENT and s.scope.startswith(silent) for s in spans):
        return _silent_outcome(counted)
    return Outcome.OK


def _silent_outcome(counted: list[Span]) -> Outcome:
    """How a run ended whose instrumentation records neither guardrails nor turns.

    Nothing was called: a guardrail came first. The last call asked for tools and none ran: the
    answer could not be carried out.
    """
    if not counted:
        return Outcome.GUARDRAIL
    last = max(counted, key=lambda span: span.started_ns)
    wants_tools = last.kind is Kind.LLM and (last.finish_reason or "").startswith("tool")
    return Outcome.ERROR if wants_tools else Outcome.OK


def _is_sheltered(tree: Tree, span: Span, top: Span) -> bool:
    """Inside a tool or a call: what fails there is its failure, which the run may survive."""
    at_top = tree.places[top.span_id].shelters + (top.kind in SHELTERS and span is not top)
    return tree.places[span.span_id].shelters > at_top
