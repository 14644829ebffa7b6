"""What the API says of runs and spans, as JSON. Unknown is null; money is a decimal string."""

from decimal import Decimal
from typing import Any, Final, Self

import msgspec

from tocsin.model.moment import write_time
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Usage
from tocsin.store.base import (
    Conversation,
    ErrorCount,
    Latency,
    RunPage,
    RunView,
    StoredRun,
    StoredSpan,
    UsageSum,
)

__all__ = [
    "ConversationDocument",
    "ErrorsPoint",
    "LatencyPoint",
    "RunDocument",
    "RunViewDocument",
    "RunsDocument",
    "SpanDocument",
    "UsagePoint",
    "write_money",
]


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are RFC 3339 in UTC, down to nanoseconds."""

    run_id: str
    trace_id: str
    workflow: str
    conversation_id: str | None
    service: str | None
    environment: str | None
    outcome: Outcome | None
    """None while the run goes on, as `ended_at` and `duration_s`."""
    started_at: str
    ended_at: str | None
    duration_s: float | None
    turns: int
    llm_calls: int
    tool_calls: int
    handoffs: int
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    """Of the calls that reported tokens; None where calls were made and none did."""
    usage_missing: int
    """Calls that reported no tokens though they did not fail."""
    cost_usd: str | None
    """Of the priced calls; None where not a single one could be priced."""
    priced_calls: int
    unpriced_calls: int

    @classmethod
    def of(cls, stored: StoredRun) -> Self:
        """Describe a stored run."""
        run = stored.run
        is_over = run.ended_ns is not None
        input_tokens, output_tokens = known_tokens(
            run.input_tokens, run.output_tokens, run.usage_missing
        )
        return cls(
            run_id=run.run_id,
            trace_id=run.trace_id,
            workflow=run.workflow,
            conversation_id=run.conversation_id,
            service=stored.service,
            environment=stored.environment,
            outcome=run.outcome,
            started_at=write_time(run.started_ns),
            ended_at=None if run.ended_ns is None else write_time(run.ended_ns),
            duration_s=run.duration_s if is_over else None,
            turns=run.turns,
            llm_calls=run.llm_calls,
            tool_calls=run.tool_calls,
            handoffs=run.handoffs,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            total_tokens=None if input_tokens is None else run.total_tokens,
            usage_missing=run.usage_missing,
            cost_usd=write_money(run.known_cost_usd),
            priced_calls=run.priced_calls,
            unpriced_calls=run.unpriced_calls,
        )


class SpanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One span of a run. content: prompts and completions, if the store was told to keep any."""

    span_id: str
    parent_id: str | None
    kind: Kind
    name: str
    agent: str | None
    started_at: str
    duration_s: float
    error: ErrorClass | None
    model: str | None
    response_model: str | None
    provider: str | None
    service_tier: str | None
    finish_reason: str | None
    usage: Usage | None
    calls: int
    cost_usd: str | None
    first_token_s: float | None
    retry: bool
    from_agent: str | None
    to_agent: str | None
    triggered: bool
    service: str | None
    environment: str | None
    attributes: dict[str, str]
    content: dict[str, str]

    @classmethod
    def of(cls, stored: StoredSpan) -> Self:
        """Describe a stored span."""
        span = stored.span
        plain = {name: getattr(span, name) for name in PLAIN}
        return cls(
            **plain,
            started_at=write_time(span.started_ns),
            duration_s=span.duration_s,
            provider=stored.provider or span.provider,
            cost_usd=None if stored.cost is None else write_money(stored.cost.total),
            retry=stored.retry,
            content=stored.content,
        )


PLAIN: Final = (
    *("span_id", "parent_id", "kind", "name", "agent", "error", "model", "response_model"),
    *("service_tier", "finish_reason", "usage", "calls", "first_token_s", "from_agent"),
    *("to_agent", "triggered", "service", "environment", "attributes"),
)
"""Fields of Span that are told as they are."""


class RunsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs. next_cursor: ask with it for the next page; None on the last."""

    runs: list[RunDocument]
    next_cursor: str | None

    @classmethod
    def of(cls, page: RunPage) -> Self:
        """Describe a page."""
        return cls(runs=[RunDocument.of(run) for run in page.runs], next_cursor=page.next_cursor)


class RunViewDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A run and its spans in the order they began; span_count of them, if all are listed."""

    run: RunDocument
    spans: list[SpanDocument]
    span_count: int

    @classmethod
    def of(cls, view: RunView, limit: int) -> Self:
        """Describe a run with at most so many of its spans."""
        spans = [SpanDocument.of(span) for span in view.spans[:limit]]
        return cls(run=RunDocument.of(view.run), spans=spans, span_count=len(view.spans))


class ConversationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation: its first runs, and what all of its run_count runs took together."""

    conversation_id: str
    runs: list[RunDocument]
    run_count: int
    total_tokens: int | None
    cost_usd: str | None

    @classmethod
    def of(cls, found: Conversation) -> Self:
        """Describe a conversation."""
        missing = any(stored.run.usage_missing for stored in found.runs)
        return cls(
            conversation_id=found.conversation_id,
            runs=[RunDocument.of(run) for run in found.runs],
            run_count=found.run_count,
            total_tokens=None if missing and not found.total_tokens else found.total_tokens,
            cost_usd=write_money(found.cost_usd),
        )


class LatencyPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of one group in the step that begins at `at`; percentiles within 2.5 %."""

    group: str
    at: str
    count: int
    p50_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, found: Latency) -> Self:
        """Describe a latency."""
        return cls(**_plain(found, "count", "p50_s", "p95_s", "p99_s"))


class ErrorsPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one group in a step. rate: 0 to 1. classes: how often each error occurred."""

    group: str
    at: str
    total: int
    failed: int
    rate: float
    classes: dict[str, int]

    @classmethod
    def of(cls, found: ErrorCount) -> Self:
        """Describe a count of failures."""
        return cls(**_plain(found, "total", "failed", "rate", "classes"))


class UsagePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and dollars of one group in a step; None where no call's are known."""

    group: str
    at: str
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_missing: int
    unpriced: int
    cost_usd: str | None

    @classmethod
    def of(cls, found: UsageSum) -> Self:
        """Describe a sum."""
        fields = _plain(found, "calls", *TOKENS, "usage_missing", "unpriced")
        if found.usage_missing and not found.input_tokens + found.output_tokens:
            fields |= dict.fromkeys(TOKENS)
        return cls(**fields, cost_usd=write_money(found.cost_usd))


TOKENS: Final = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    "reasoning_tokens",
)


def known_tokens(input_: int, output: int, missing: int) -> tuple[int | None, int | None]:
    """Return a sum's tokens; None where calls reported none, so that 0 stays a known 0."""
    return (None, None) if missing and not input_ + output else (input_, output)


def write_money(usd: Decimal | None) -> str | None:
    """Write dollars as a plain decimal, without the zeros that the store pads."""
    return None if usd is None else f"{usd.normalize():f}"


def _plain(found: Latency | ErrorCount | UsageSum, *names: str) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in names}
    return {"group": found.group, "at": write_time(found.at_ns)} | fields
