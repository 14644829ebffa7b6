"""Runs whose source says which spans are theirs, and how each of them ended."""

from collections.abc import Sequence
from typing import Final

from tocsin.model.label import UNKNOWN
from tocsin.model.run import Outcome, Run
from tocsin.model.span import Kind, Span
from tocsin.sources.tocsin_attributes import NESTED, RUN_COUNTS, RUN_ID, RUN_OUTCOME

__all__ = ["WORK", "reported_runs", "total"]

WORK: Final = frozenset({Kind.LLM, Kind.EMBEDDING, Kind.TOOL, Kind.HANDOFF, Kind.GUARDRAIL})


def reported_runs(spans: Sequence[Span]) -> tuple[dict[str, list[Span]], list[Span]]:
    """Part spans into those that name their run, by its id, and the others."""
    found: dict[str, list[Span]] = {}
    others: list[Span] = []
    for span in spans:
        run_id = span.attributes.get(RUN_ID)
        (others if run_id is None else found.setdefault(run_id, [])).append(span)
    return found, others


def total(run_id: str, spans: Sequence[Span]) -> tuple[Run, bool]:
    """Make a run of its spans, and say whether its report is among them.

    The report's numbers hold even where spans were lost on the way. A run without one is going
    on, or its program was killed: its outcome is unknown, and its numbers are so far.
    """
    report = next((span for span in spans if RUN_OUTCOME in span.attributes), None)
    told = spans[0] if report is None else report
    run = Run(
        run_id=run_id,
        trace_id=told.trace_id,
        workflow=told.workflow or UNKNOWN,
        started_ns=min(span.started_ns for span in spans) if report is None else told.started_ns,
        started_mono_ns=0,
        conversation_id=next((s.conversation_id for s in spans if s.conversation_id), None),
        ended_ns=max(span.ended_ns for span in spans) if report is None else told.ended_ns,
        outcome=Outcome(told.attributes.get(RUN_OUTCOME, Outcome.UNKNOWN)),
    )
    if report is None:
        _add_up(run, spans)
        return run, False
    for name, field in RUN_COUNTS.items():
        setattr(run, field, int(report.attributes[name]))
    return run, True


def _add_up(run: Run, spans: Sequence[Span]) -> None:
    for span in spans:
        match span.kind:
            case Kind.LLM:
                run.llm_calls += span.calls
                run.usage_missing += span.usage is None and span.error is None
                if span.usage is not None:
                    run.input_tokens += span.usage.input_tokens
                    run.output_tokens += span.usage.output_tokens
            case Kind.STEP:
                run.turns += NESTED not in span.attributes
            case Kind.TOOL:
                run.tool_calls += 1
            case Kind.HANDOFF:
                run.handoffs += 1
