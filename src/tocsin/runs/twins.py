"""One model call that two instrumentations recorded, each in a trace of its own."""

from collections import OrderedDict
from typing import Final, TypeAlias

import msgspec

from tocsin.model.span import Span

__all__ = ["Twins"]

MAX_CALLS: Final = 20_000
Key: TypeAlias = tuple[str | None, str | None, int, int]


class Seen(msgspec.Struct):
    """A call that was counted, and which scopes have recorded it."""

    started_ns: int
    ended_ns: int
    scopes: set[str]


class Twins:
    """Remembers calls that stand alone in their traces, to recognise their second recording.

    Two such spans tell of one call if they come from one service, but from different
    instrumentation scopes, agree on model and tokens, and one lies within the other's time. A
    program that makes equal calls at once records each with both scopes, so they pair off.
    """

    def __init__(self) -> None:
        self._calls: OrderedDict[Key, list[Seen]] = OrderedDict()

    def is_twin(self, call: Span) -> bool:
        """Judge a call that is the only span of its trace, and remember it."""
        if call.usage is None:
            return False
        model = call.response_model or call.model
        key = (call.service, model, call.usage.input_tokens, call.usage.output_tokens)
        seen = self._calls.setdefault(key, [])
        for one in seen:
            if call.scope not in one.scopes and _nested(one, call):
                one.scopes.add(call.scope)
                return True
        seen.append(Seen(call.started_ns, call.ended_ns, {call.scope}))
        del seen[:-64]
        self._calls.move_to_end(key)
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)
        return False


def _nested(one: Seen, other: Span) -> bool:
    starts, ends = one.started_ns - other.started_ns, one.ended_ns - other.ended_ns
    return (starts <= 0 <= ends) or (ends <= 0 <= starts)
