"""One model call that its own client library reports beside an instrumentation.

Anthropic's SDK records a span for each request by itself. An instrumentation around it that does
not make its own span the current one (callbacks, streams, OpenLLMetry) leaves the SDK's as a root,
or beside its own. Failures and streams have no response id in common, and some instrumentations
leave cached tokens out, so neither ids nor tokens tell the two apart from two calls. But the SDK's
span is always inside of the time of the other's: it repeats a call of another scope, by the same
service and of the same model, that has its response id, or that encloses it and ended alike.
"""

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from tocsin.model.span import Kind, Span, Usage

__all__ = ["ClientSpans"]

CLIENT: Final = "com.anthropic.sdk."
"""Start of the scopes in which a client library reports itself."""
MAX_RECENT: Final = 10_000
"""Calls of all traces that are remembered."""
MAX_LOOKED_AT: Final = 256
"""Of these, the last of one service and model among which a call is looked for."""

Key: TypeAlias = tuple[str | None, str | None]
"""Service and model."""


class Recent:
    """The last calls, by service and model."""

    def __init__(self) -> None:
        self._order: deque[Key] = deque()
        self._calls: dict[Key, deque[Span]] = {}

    def add(self, call: Span) -> None:
        key = (call.service, call.model)
        self._order.append(key)
        self._calls.setdefault(key, deque()).append(call)
        if len(self._order) > MAX_RECENT:
            self._forget_oldest()

    def has_like(self, call: Span) -> bool:
        """Whether any is of the same service and model."""
        return (call.service, call.model) in self._calls

    def same_as(self, call: Span) -> Span | None:
        """The last one that is the same call as another scope's."""
        calls = self._calls.get((call.service, call.model), ())
        last = islice(reversed(calls), MAX_LOOKED_AT)
        return next((other for other in last if _is_same(other, call)), None)

    def _forget_oldest(self) -> None:
        key = self._order.popleft()
        calls = self._calls[key]
        calls.popleft()
        if not calls:
            del self._calls[key]


class ClientSpans:
    """Remembers the last calls of all traces, to recognise those that a client reports again."""

    def __init__(self) -> None:
        self._clients = Recent()
        self._others = Recent()
        self._counted = Recent()
        """Clients' spans that were handed on before the call that they repeat had come."""
        self._has_clients = False

    def note(self, span: Span) -> bool:
        """Take note of a span that has come, if it is a model call; True if a client's own."""
        if span.kind is not Kind.LLM:
            return False
        is_client = span.scope.startswith(CLIENT)
        (self._clients if is_client else self._others).add(span)
        self._has_clients |= is_client
        return is_client

    def without_clients(self, spans: Mapping[str, Span]) -> list[Span]:
        """A trace's spans without any that may turn out to repeat a call."""
        if not self._has_clients:
            return list(spans.values())
        return [span for span in spans.values() if not span.scope.startswith(CLIENT)]

    def without_repeats(self, spans: Mapping[str, Span]) -> list[Span]:
        """A trace's spans without those that repeat another's call; that one learns what they knew.

        A client's span inside of a call is left for the rules of calls inside of each other.
        """
        if not self._has_clients:
            return list(spans.values())
        kept: list[Span] = []
        for span in spans.values():
            if span.kind is not Kind.LLM or not self._clients.has_like(span):
                kept.append(span)
            elif (known := self._keep(span, spans)) is not None:
                kept.append(known)
        return kept

    def _keep(self, span: Span, spans: Mapping[str, Span]) -> Span | None:
        if not span.scope.startswith(CLIENT):
            is_repeat = len(spans) == 1 and self._counted.same_as(span) is not None
            return None if is_repeat else self._complete(span)
        if _is_inside_call(span, spans):
            return span
        if self._others.same_as(span) is not None:
            return None
        self._counted.add(span)
        return span

    def _complete(self, call: Span) -> Span:
        """Give a call the tokens that it left out, and the wait, where its client tells them."""
        client = None if call.error is not None else self._clients.same_as(call)
        if client is None:
            return call
        has_its_id = call.response_id is not None and call.response_id == client.response_id
        is_known = client.usage is not None and (
            has_its_id or _tells_less(call.usage, client.usage)
        )
        return msgspec.structs.replace(
            call,
            usage=client.usage if is_known else call.usage,
            first_token_s=call.first_token_s or client.first_token_s,
        )


def _is_inside_call(span: Span, spans: Mapping[str, Span]) -> bool:
    parent = spans.get(span.parent_id) if span.parent_id else None
    return parent is not None and parent.kind is Kind.LLM


def _is_same(one: Span, two: Span) -> bool:
    """Whether a call and a client's span, whichever is first, are the same call."""
    call, client = (two, one) if one.scope.startswith(CLIENT) else (one, two)
    if client.parent_id == call.span_id or not call.scope:
        return False  # what recorded the call is not known: it may be the client's own
    if call.response_id is not None and client.response_id is not None:
        return call.response_id == client.response_id
    return (
        call.started_ns <= client.started_ns
        and client.ended_ns <= call.ended_ns
        and (call.error is None) == (client.error is None)
    )


def _tells_less(told: Usage | None, known: Usage) -> bool:
    """Nothing was told of the input, or the same without the cached tokens."""
    if told is None or not told.input_tokens:
        return True
    cached = known.cache_read_tokens + known.cache_write_tokens
    uncached = (known.input_tokens - cached, known.output_tokens)
    return cached > 0 and (told.input_tokens, told.output_tokens) == uncached
