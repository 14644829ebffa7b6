"""All known spans of a trace -> its runs: who belongs where, what counts, how it ended."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Final

import msgspec

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Run
from tocsin.model.span import ErrorClass, Kind, Span
from tocsin.runs.counting import find_work
from tocsin.runs.ending import find_outcome
from tocsin.runs.reported import WORK, reported_runs, total
from tocsin.runs.retries import RetryWatch
from tocsin.runs.tree import CALLS, FRAMES, Node, build_tree

__all__ = ["FoldedRun", "Placed", "fold"]

STRUCTURE: Final = frozenset({Kind.STEP, Kind.OTHER})
MAX_AROUND: Final = 64
"""Spans above a run in which its conversation is looked for."""
TRIPPED: Final = "guardrail"
"""Attribute in which a source keeps the name of the guardrail that stopped a span."""


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A span of a run; hand-offs and guardrails with what the rest of the trace tells of them."""

    span: Span
    counted: bool
    """It is work; of spans that report the same call, only one is."""
    retry: bool
    """A tool or model called again after it failed, or a tool with the same arguments."""
    nested: bool
    """Inside of a tool."""


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
        Placed(span, counted=span.kind in WORK, retry=span.is_retry, nested=False)
        for span in sorted(spans, key=lambda span: (span.started_ns, span.span_id))
    ]
    return FoldedRun(run=run, root=placed[0].span, spans=placed, reported=is_reported)


def _fold(spans: Sequence[Span]) -> list[FoldedRun]:
    nodes = build_tree(spans)
    members: dict[Node, list[Node]] = {}
    for node in nodes:
        members.setdefault(node.run_root, []).append(node)
    work = find_work(nodes)
    holders = _around(members)
    runs = [
        _fold_run(root, inside, work)
        for root, inside in members.items()
        if _is_run(inside, holders)
    ]
    return sorted(runs, key=lambda folded: (folded.run.started_ns, folded.run.run_id))


def _around(roots: Iterable[Node]) -> set[Node]:
    """All spans that runs are inside of."""
    around: set[Node] = set()
    for root in roots:
        for outer in root.above():
            if outer in around:
                break
            around.add(outer)
    return around


def _is_run(inside: list[Node], holders: set[Node]) -> bool:
    kinds = {node.span.kind for node in inside}
    if kinds - STRUCTURE:
        return True
    return Kind.STEP in kinds and not any(node in holders for node in inside)


def _fold_run(root: Node, inside: list[Node], work: set[Node]) -> FoldedRun:
    inside.sort(key=lambda node: (node.span.started_ns, node.span.span_id))
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
        _add(run, node.span)
    run.turns = sum(node.span.kind is Kind.LLM and not node.nested for node in counted)
    retries = _find_retries(counted)
    completed = _complete(inside)
    placed: list[Placed] = []
    for node in inside:
        shown, counts = completed.get(node, node.span), node in work
        if counts and shown.kind in FRAMES:
            placed.append(Placed(shown, False, False, node.nested))
            shown = msgspec.structs.replace(shown, kind=Kind.LLM, calls=0, error=None)
        placed.append(Placed(shown, counts, node in retries, node.nested))
    return FoldedRun(run=run, root=span, spans=placed)


def _add(run: Run, span: Span) -> None:
    """Add a counted span to its run's totals."""
    run.llm_calls += span.calls if span.kind in CALLS else 0
    run.tool_calls += span.kind is Kind.TOOL
    run.handoffs += span.kind is Kind.HANDOFF
    if span.usage is not None:
        run.input_tokens += span.usage.input_tokens
        run.output_tokens += span.usage.output_tokens
    elif span.kind in CALLS:
        run.usage_missing += span.error is None


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
        if span.kind is Kind.TOOL and watch.is_retry(span):
            retries.add(node)
        if span.kind is not Kind.LLM:
            continue
        beside = (node.parent, span.model)
        if failed.pop(beside, span.started_ns + 1) <= span.started_ns:
            retries.add(node)
        if span.error not in (None, ErrorClass.CANCELLED):
            failed[beside] = span.ended_ns
    return retries


def _complete(inside: list[Node]) -> dict[Node, Span]:
    """Spans with what others tell of them: ends of hand-offs, guardrails that tripped."""
    agents = [node.span for node in inside if node.span.kind is Kind.AGENT]
    tripped = {node.span.attributes.get(TRIPPED) for node in inside if node.span.error is not None}
    completed: dict[Node, Span] = {}
    for node in inside:
        span = node.span
        if span.kind is Kind.HANDOFF:
            completed[node] = msgspec.structs.replace(
                span,
                from_agent=span.from_agent or (node.agent.span.name if node.agent else UNKNOWN),
                to_agent=span.to_agent or _next_agent(span, agents),
            )
        elif span.kind is Kind.GUARDRAIL and not span.triggered and span.name in tripped:
            completed[node] = msgspec.structs.replace(span, triggered=True)
    return completed


def _next_agent(handoff: Span, agents: list[Span]) -> str:
    """Name of the first agent, of those in order of their start, that began after a hand-off."""
    index = bisect_left(agents, handoff.started_ns, key=lambda agent: agent.started_ns)
    return agents[index].name if index < len(agents) else UNKNOWN
