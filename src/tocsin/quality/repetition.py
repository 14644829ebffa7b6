"""Which of a finished run's spans can show a signal at all: of most runs, none."""

from collections.abc import Iterable

from tocsin.model.span import GUARDRAIL, HANDOFF, LLM, TOOL, Span
from tocsin.quality.answers import judge_answer

__all__ = ["may_repeat", "tells_alone"]


def may_repeat(spans: Iterable[Span]) -> bool:
    """Whether a run failed anywhere, called a tool twice alike, or handed over more than once.

    Every signal takes that, or a tool's result, or else a span that tells it alone.
    """
    calls: set[tuple[str, int]] = set()
    handoffs = 0
    for span in spans:
        if span.error is not None or span.result is not None:
            return True
        if span.kind is TOOL and span.arguments is not None:
            call = (span.name, span.arguments)
            if call in calls:
                return True
            calls.add(call)
        elif span.kind is HANDOFF:
            handoffs += 1
    return handoffs > 1


def tells_alone(span: Span) -> bool:
    """Whether a span that no other repeats shows something: a bad answer, a guardrail's check."""
    if span.kind is LLM:
        return judge_answer(span) is not None
    return span.kind is GUARDRAIL
