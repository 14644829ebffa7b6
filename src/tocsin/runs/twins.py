"""One model call that two instrumentations recorded, without a common id.

A streamed call may lose its context between two instrumentors of one program: the inner one's span
is then no child of the outer one's, but a sibling, or the only span of a trace of its own. Such a
span is a twin of a call by another instrumentation of the same service, when that began before it
and ended after it, and agrees on model and tokens. Both must be successes with known tokens, and at
most one may have a response id. Calls of one instrumentation are never twins of each other, however
alike they are; and twins go in pairs, so a call is dropped only beside one that stays.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from tocsin.model.span import Kind, Span

__all__ = ["RecentCalls", "find_siblings"]

Likeness: TypeAlias = tuple[str | None, str | None, int, int]
"""Service, model, input tokens, output tokens."""
MAX_BETWEEN: Final = 256
"""Calls just like it that may begin between the outer and the inner span."""
MAX_RECENT: Final = 20_000
"""Calls of other traces that are remembered."""


def find_siblings(calls: Iterable[Span]) -> set[str]:
    """Find calls of one trace that repeat another with the same parent; returns their span ids.

    Of two, the one without a response id is dropped, else the inner one.
    """
    groups: dict[Likeness, list[Span]] = {}
    for call in calls:
        if (likeness := _likeness(call)) is not None:
            groups.setdefault(likeness, []).append(call)
    dropped: set[str] = set()
    for group in groups.values():
        if len({call.scope for call in group}) > 1:
            dropped |= _pair(sorted(group, key=lambda call: (call.started_ns, -call.ended_ns)))
    return dropped


def _pair(calls: list[Span]) -> set[str]:
    """Pair calls, which are in order of their start, greedily with what they enclose."""
    dropped: set[str] = set()
    paired: set[str] = set()
    for index, outer in enumerate(calls):
        if outer.span_id in paired:
            continue
        for inner in calls[index + 1 : index + 1 + MAX_BETWEEN]:
            if inner.started_ns > outer.ended_ns:
                break
            is_beside = inner.parent_id == outer.parent_id and inner.span_id not in paired
            if is_beside and _encloses(outer, inner):
                paired |= {outer.span_id, inner.span_id}
                inner_knows_more = inner.response_id is not None and outer.response_id is None
                dropped.add(outer.span_id if inner_knows_more else inner.span_id)
                break
    return dropped


class Seen(msgspec.Struct):
    """A call of some trace. is_paired: it has its twin. stays: it stood alone and was counted."""

    trace_id: str
    started_ns: int
    ended_ns: int
    scope: str
    response_id: str | None
    is_root: bool
    likeness: Likeness
    is_paired: bool = False
    stays: bool = False


class RecentCalls:
    """Remembers the last calls of all traces, to recognise one that repeats another trace's.

    Of two that stand alone the one without a response id is dropped, else the inner one; unless it
    was counted before the other had come.
    """

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque()
        self._alike: dict[Likeness, deque[Seen]] = {}

    def note(self, span: Span) -> None:
        """Take note of a span that has come, if it is a call that may have a twin."""
        likeness = _likeness(span)
        if likeness is None:
            return
        seen = Seen(
            *(span.trace_id, span.started_ns, span.ended_ns, span.scope, span.response_id),
            span.parent_id is None,
            likeness,
        )
        self._seen.append(seen)
        self._alike.setdefault(likeness, deque()).append(seen)
        if len(self._seen) > MAX_RECENT:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self._seen.popleft()
        alike = self._alike[oldest.likeness]
        alike.popleft()
        if not alike:
            del self._alike[oldest.likeness]

    def is_twin(self, call: Span) -> bool:
        """Judge a noted call that is alone in its trace; ask once for each."""
        likeness = _likeness(call)
        alike = self._alike.get(likeness, ()) if likeness is not None else ()
        own = next((seen for seen in alike if seen.trace_id == call.trace_id), None)
        if own is None:
            return False
        for other in alike:
            if other.is_paired or other.trace_id == own.trace_id:
                continue
            if _repeats(own, other):
                own.is_paired = other.is_paired = True
                return True
        own.stays = True
        return False


def _repeats(own: Seen, other: Seen) -> bool:
    """Whether a lone call is another's twin, and is the one to go."""
    is_inner = _encloses(other, own)
    if not is_inner and not (other.is_root and _encloses(own, other)):
        return False
    if other.stays or not other.is_root:
        return True
    if own.response_id != other.response_id:
        return own.response_id is None
    return is_inner


def _likeness(span: Span) -> Likeness | None:
    """What twins agree on; None where a span can be none."""
    usage = span.usage
    if span.kind is not Kind.LLM or usage is None or span.error is not None:
        return None
    model = span.response_model or span.model
    return (span.service, model, usage.input_tokens, usage.output_tokens)


def _encloses(outer: Span | Seen, inner: Span | Seen) -> bool:
    return (
        outer.started_ns <= inner.started_ns
        and inner.ended_ns <= outer.ended_ns
        and (inner.response_id is None or outer.response_id is None)
        and inner.scope != outer.scope
    )
