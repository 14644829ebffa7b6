"""All known spans of a trace -> its runs: who belongs where, what counts, how it ended."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence, Set
from itertools import chain, islice
from operator import attrgetter
from typing import Final

import msgspec

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Run
from tocsin.model.span import AGENT, GUARDRAIL, HANDOFF, LLM, TOOL, ErrorClass, Kind, Span
from tocsin.runs.counting import find_work
from tocsin.runs.ending import find_outcome
from tocsin.runs.reported import WORK, reported_runs, total
from tocsin.runs.retries import RetryWatch
from tocsin.runs.tree import BEGUN, CALLS, FRAMES, Node, build_tree

__all__ = ["FoldedRun", "Placed", "fold"]

STRUCTURE: Final = frozenset({Kind.STEP, Kind.OTHER})
TOLD_BY_OTHERS: Final = frozenset({Kind.HANDOFF, Kind.GUARDRAIL})
MAX_AROUND: Final = 64
"""Spans above a run in which its conversation is looked for."""
PLACE: Final = attrgetter("place")
TRIPPED: Final = "guardrail"
"""Attribute in which a source keeps the name of the guardrail that stopped a span."""


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A span of a run; hand-offs and guardrails with what the rest of the trace tells of them."""

    span: Span
    counted: bool
    """It is work; of spans that report the same call, only one is."""
    retry: bool
    """A tool or model called again after it failed, or a tool with the same arguments."""


class FoldedRun(msgspec.Struct, frozen=True):
    """A run of a trace, its spans in the order they began.

    root: the span that stands for the run. The run's costs are still to be added, span by counted
    span. An agent that alone knows what its calls used is followed by an LLM span with its id,
    which stands for them.
    """

    run: Run
    root: Span
    spans: list[Placed]
    reported: bool | None = None
    """Whether its source has said how it ended; None for sources that report no runs."""


def fold(spans: Sequence[Span]) -> list[FoldedRun]:
    """Fold all known spans of one trace, in any order, into its runs by start.

    Spans that name their run are taken at their word. Spans that only surround runs, and traces
    without any agent's span, make no run.
    """
    reported, others = reported_runs(spans)
    return [*(_fold_reported(run_id, group) for run_id, group in reported.items()), *_fold(others)]


def _fold_reported(run_id: str, spans: list[Span]) -> FoldedRun:
    run, is_reported = total(run_id, spans)
    placed = [
        Placed(span, counted=span.kind in WORK, retry=span.is_retry)
        for span in sorted(spans, key=BEGUN)
    ]
    return FoldedRun(run=run, root=placed[0].span, spans=placed, reported=is_reported)


def _fold(spans: Sequence[Span]) -> list[FoldedRun]:
    nodes = build_tree(spans)
    members: dict[str, list[Node]] = {}
    for node in nodes:
        members.setdefault(node.root_id, []).append(node)
    work = find_work(nodes)
    holders = _around(members.values()) if len(members) > 1 else frozenset[Node]()
    runs = [_fold_run(inside, work) for inside in members.values() if _is_run(inside, holders)]
    return sorted(runs, key=lambda folded: (folded.run.started_ns, folded.run.run_id))


def _around(runs: Iterable[list[Node]]) -> set[Node]:
    """All spans that runs are inside of; the first of each run's is its root."""
    around: set[Node] = set()
    for root, *_ in runs:
        for outer in root.above():
            if outer in around:
                break
            around.add(outer)
    return around


def _is_run(inside: list[Node], holders: Set[Node]) -> bool:
    kinds = {node.kind for node in inside}
    if kinds - STRUCTURE:
        return True
    return Kind.STEP in kinds and not any(node in holders for node in inside)


def _fold_run(inside: list[Node], work: set[Node]) -> FoldedRun:
    """inside: the spans of the run, its root first."""
    root = inside[0]
    inside.sort(key=PLACE)
    span = root.span
    run = Run(
        run_id=span.span_id,
        trace_id=span.trace_id,
        workflow=_workflow(root, inside),
        started_ns=span.started_ns,
        started_mono_ns=span.started_ns,
        ended_ns=span.ended_ns,
        conversation_id=_conversation(root, inside),
        outcome=find_outcome(root, inside),
    )
    counted = [node for node in inside if node in work]
    for node in counted:
        _add(run, node)
    retries = _find_retries(counted)
    completed = _complete(inside)
    placed: list[Placed] = []
    for node in inside:
        shown, counts = completed.get(node, node.span), node in work
        if counts and node.kind in FRAMES:
            placed.append(Placed(shown, False, False))
            shown = msgspec.structs.replace(shown, kind=LLM, calls=0, error=None)
        placed.append(Placed(shown, counts, node in retries))
    return FoldedRun(run=run, root=span, spans=placed)


def _add(run: Run, node: Node) -> None:
    """Add a counted span to its run's totals."""
    span, usage = node.span, node.span.usage
    if usage is not None:
        run.input_tokens += usage.input_tokens
        run.output_tokens += usage.output_tokens
    if node.kind in CALLS:
        run.llm_calls += span.calls
        run.usage_missing += usage is None and span.error is None
        run.turns += node.kind is LLM and not node.nested
    elif node.kind is TOOL:
        run.tool_calls += 1
    elif node.kind is HANDOFF:
        run.handoffs += 1


def _workflow(root: Node, inside: list[Node]) -> str:
    """The name its root gives, else any of its spans, else the root's own name."""
    if root.span.workflow is not None:
        return root.span.workflow
    named = (node.span.workflow for node in inside if node.span.workflow is not None)
    return next(named, None) or root.span.name or UNKNOWN


def _conversation(root: Node, inside: list[Node]) -> str | None:
    """The conversation that the root names, else one around it, else any span inside."""
    for node in chain((root,), islice(root.above(), MAX_AROUND), inside):
        if node.span.conversation_id is not None:
            return node.span.conversation_id
    return None


def _find_retries(counted: list[Node]) -> set[Node]:
    """Counted calls, in the order they began, that repeat one before."""
    retries = {node for node in counted if node.span.is_retry}
    watch = RetryWatch()
    failed: dict[tuple[Node | None, str | None], int] = {}
    for node in counted:
        span = node.span
        if node.kind is TOOL:
            if watch.is_retry(span):
                retries.add(node)
        elif node.kind is LLM:
            beside = (node.parent, span.model)
            if failed.pop(beside, span.started_ns + 1) <= span.started_ns:
                retries.add(node)
            if span.error is not None and span.error is not ErrorClass.CANCELLED:
                failed[beside] = span.ended_ns
    return retries


def _complete(inside: list[Node]) -> dict[Node, Span]:
    """Spans with what others tell of them: ends of hand-offs, guardrails that tripped."""
    if not any(node.kind in TOLD_BY_OTHERS for node in inside):
        return {}
    agents = [node.span for node in inside if node.kind is AGENT]
    tripped = {node.span.attributes.get(TRIPPED) for node in inside if node.span.error is not None}
    completed: dict[Node, Span] = {}
    for node in inside:
        span = node.span
        if node.kind is HANDOFF:
            completed[node] = msgspec.structs.replace(
                span,
                from_agent=span.from_agent or (node.agent.span.name if node.agent else UNKNOWN),
                to_agent=span.to_agent or _next_agent(span, agents),
            )
        elif node.kind is GUARDRAIL and not span.triggered and span.name in tripped:
            completed[node] = msgspec.structs.replace(span, triggered=True)
    return completed


def _next_agent(handoff: Span, agents: list[Span]) -> str:
    """Name of the first agent, of those in order of their start, that began after a hand-off."""
    index = bisect_left(agents, handoff.started_ns, key=lambda agent: agent.started_ns)
    return agents[index].name if index < len(agents) else UNKNOWN
