"""One model call that two instrumentations recorded, each without knowing of the other.

The inner one's span may be no child of the outer one's, since a streamed call loses its context or
since the inner one (the Anthropic SDK records itself) begins a trace of its own. Two such spans are
twins if they come from one service but from different instrumentation scopes, and either have the
same response id; or one lies within the other's time, they agree on model and tokens (or both
failed), and at most one has a response id. Calls of one instrumentation are never twins of each
other, however alike they are, nor are those whose instrumentation is unknown; and twins go in
pairs, so a call is dropped only beside one that stays.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from tocsin.model.span import LLM, Span

__all__ = ["RecentCalls", "find_siblings"]

Likeness: TypeAlias = tuple[str | None, str | None, int, int]
"""Service, model, input tokens, output tokens; or service, response id and zeros."""
FAILED: Final = -1
"""Tokens of calls that failed."""
MAX_BETWEEN: Final = 256
"""Calls just like it that may begin between the outer and the inner span."""
MAX_RECENT: Final = 20_000
"""Calls of other traces that are remembered."""


def find_siblings(calls: Sequence[Span]) -> set[str]:
    """Find calls of one trace that repeat another with the same parent; returns their span ids.

    Of two, the one without a response id is dropped, else the inner one.
    """
    dropped: set[str] = set()
    if len({call.scope for call in calls}) < 2:
        return dropped
    groups: dict[Likeness, list[Span]] = {}
    for call in calls:
        if (likeness := _likeness(call)) is not None:
            groups.setdefault(likeness, []).append(call)
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
    keys: tuple[Likeness, ...]
    is_paired: bool = False
    stays: bool = False


class RecentCalls:
    """Remembers the last calls of all traces, to recognise one that repeats another trace's.

    Of two that stand alone the one without a response id is dropped, else the inner one; unless it
    was counted before the other had come.
    """

    def __init__(self) -> None:
        self._noted: deque[Span] = deque(maxlen=MAX_RECENT)
        """Not looked at yet: most senders have no call that stands alone."""
        self._seen: deque[Seen] = deque()
        self._alike: dict[Likeness, deque[Seen]] = {}

    def note(self, span: Span) -> None:
        """Take note of a span that has come, if it is a model call."""
        if span.kind is LLM:
            self._noted.append(span)

    def _look_at_noted(self) -> None:
        while self._noted:
            span = self._noted.popleft()
            if keys := _keys(span):
                self._remember(span, keys)

    def _remember(self, span: Span, keys: tuple[Likeness, ...]) -> None:
        seen = Seen(
            *(span.trace_id, span.started_ns, span.ended_ns, span.scope, span.response_id),
            span.parent_id is None,
            keys,
        )
        self._seen.append(seen)
        for key in keys:
            self._alike.setdefault(key, deque()).append(seen)
        if len(self._seen) > MAX_RECENT:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        for key in self._seen.popleft().keys:
            alike = self._alike[key]
            alike.popleft()
            if not alike:
                del self._alike[key]

    def is_twin(self, call: Span) -> bool:
        """Judge a noted call that is alone in its trace; ask once for each."""
        self._look_at_noted()
        alike = [seen for key in _keys(call) for seen in self._alike.get(key, ())]
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
    if not _are_different(own.scope, other.scope):
        return False
    is_inner = other.started_ns <= own.started_ns and own.ended_ns <= other.ended_ns
    is_same = own.response_id is not None and own.response_id == other.response_id
    if not is_same and not (_encloses(other, own) or (other.is_root and _encloses(own, other))):
        return False
    if other.stays or not other.is_root:
        return True
    if own.response_id != other.response_id:
        return own.response_id is None
    return is_inner


def _keys(span: Span) -> tuple[Likeness, ...]:
    """What a call and its twin have in common, one way or the other; nothing for other spans."""
    likeness = _likeness(span)
    if likeness is None:
        return ()
    if span.response_id is None:
        return (likeness,)
    return ((span.service, span.response_id, 0, 0), likeness)


def _likeness(span: Span) -> Likeness | None:
    """What twins without a common id agree on; None where a span can be none."""
    if span.kind is not LLM:
        return None
    model, usage = span.response_model or span.model, span.usage
    if usage is not None and span.error is None:
        return (span.service, model, usage.input_tokens, usage.output_tokens)
    if usage is None and span.error is not None and model is not None:
        return (span.service, model, FAILED, FAILED)
    return None


def _encloses(outer: Span | Seen, inner: Span | Seen) -> bool:
    return (
        outer.started_ns <= inner.started_ns
        and inner.ended_ns <= outer.ended_ns
        and (inner.response_id is None or outer.response_id is None)
        and _are_different(inner.scope, outer.scope)
    )


def _are_different(one: str, two: str) -> bool:
    """Whether two scopes surely differ: not all senders name theirs."""
    return bool(one and two) and one != two
