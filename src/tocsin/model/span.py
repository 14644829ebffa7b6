"""A span: one finished operation of an agent program, whatever framework reported it."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from tocsin.model.run import Outcome

__all__ = [
    "Cost",
    "ErrorClass",
    "Kind",
    "Observation",
    "Result",
    "RunEnd",
    "Span",
    "SpanStart",
    "TraceEnd",
    "Usage",
]

NS_PER_S = 1_000_000_000


class Kind(StrEnum):
    """What a span does. `STEP` and `OTHER` are structure and never counted as work."""

    RUN = "run"
    STEP = "step"
    AGENT = "agent"
    LLM = "llm"
    EMBEDDING = "embedding"
    RETRIEVAL = "retrieval"
    EVALUATOR = "evaluator"
    TOOL = "tool"
    HANDOFF = "handoff"
    GUARDRAIL = "guardrail"
    OTHER = "other"


class ErrorClass(StrEnum):
    """Why an operation failed, in the few classes that call for different reactions."""

    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    AUTH = "auth"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    OTHER = "other"


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one LLM call as the provider reported them.

    `input_tokens` includes cache reads and writes; `output_tokens` includes reasoning.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input plus output."""
        return self.input_tokens + self.output_tokens


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Price of one LLM call in USD, split as the catalogue's `cost_type` label."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal

    @property
    def total(self) -> Decimal:
        """Sum of the four parts."""
        return self.input + self.output + self.cache_read + self.cache_write


class SpanStart(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that has begun; known in time only where the source runs in-process.

    started_ns is wall time; started_mono_ns is the same moment on the monotonic clock.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    kind: Kind
    name: str
    workflow: str
    """Name for the run, should this span turn out to be a run's root."""
    started_ns: int
    started_mono_ns: int
    conversation_id: str | None = None
    tags: dict[str, str] | None = None
    """Tags for the run, should this span turn out to be a run's root: those that budgets name."""
    is_guarded: bool = False
    """The run's calls are reserved before they are made, as budgets must know."""
    reports_end: bool = False
    """The source watches the run's caller too: a `RunEnd` will follow the root's end."""


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a run got its result or its exception.

    outcome: what the caller saw; None where the spans have to tell.
    """

    span_id: str
    outcome: Outcome | None
    ended_ns: int


class TraceEnd(msgspec.Struct, frozen=True, kw_only=True):
    """No more root spans will come for this trace."""

    trace_id: str
    ended_ns: int


class Result(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a tool's result in the process that saw it; the result itself never is.

    output and arguments are hashes that mean something in this process only, across its runs.
    size: characters of the output. data_ns: the time that the output gives for its data.
    """

    output: int | None = None
    size: int = 0
    arguments: int | None = None
    data_ns: int | None = None


# gc=False: they are held by the hundred thousand, and refer to nothing that refers to them.
class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A finished operation.

    Times are wall-clock nanoseconds; a source that saw both ends on a monotonic clock sets
    `ended_ns` from it, so a clock jump never becomes a duration. None means not reported.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    kind: Kind
    name: str
    """Workflow, agent, tool or guardrail name, by kind; "unknown" where it is missing."""
    started_ns: int
    ended_ns: int
    error: ErrorClass | None = None
    """Set when the operation failed."""
    outcome: Outcome | None = None
    """What this span says about the run it belongs to, if it is at the run's top level."""
    model: str | None = None
    """As requested where known, so that failed and answered calls share a label."""
    response_model: str | None = None
    provider: str | None = None
    endpoint: str | None = None
    """Base URL the call went to, without credentials or query."""
    service_tier: str | None = None
    """As the provider answered; "batch" for batch processing."""
    usage: Usage | None = None
    calls: int = 1
    """LLM calls that `usage` covers; 0 on a run's own rollup."""
    response_id: str | None = None
    """The provider's id of the answer: two instrumentors of one call agree on it."""
    finish_reason: str | None = None
    reported_cost_usd: Decimal | None = None
    """Cost that the source itself reports; kept for comparison, never added up."""
    workflow: str | None = None
    """Name of the workflow, where the span itself says it."""
    conversation_id: str | None = None
    agent: str | None = None
    """Agent that did this, where the span itself says it."""
    service: str | None = None
    """Resource attribute service.name."""
    environment: str | None = None
    """Resource attribute deployment.environment.name."""
    scope: str = ""
    """Instrumentation scope that recorded it."""
    is_retry: bool = False
    """The source itself calls this a repeated attempt."""
    attributes: dict[str, str] = {}
    """Allow-listed attributes that have no field here; never prompts or completions."""
    content: dict[str, str] = {}
    """Prompts, completions, arguments and results, where keeping them is switched on."""
    first_token_s: float | None = None
    arguments: int | None = None
    """Hash of a tool call's arguments; None where they were not recorded."""
    result: Result | None = None
    """Of a tool call whose output was seen in this process."""
    is_empty: bool = False
    """An LLM's answer that was recorded has neither text nor a call."""
    from_agent: str | None = None
    to_agent: str | None = None
    triggered: bool = False
    """A guardrail tripped."""

    @property
    def duration_s(self) -> float:
        """Seconds from start to end, never negative."""
        return max(0, self.ended_ns - self.started_ns) / NS_PER_S


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A finished span with what Tocsin knows about it: what every recorder is told."""

    span: Span
    workflow: str
    run_id: str | None = None
    """None where no run is known that it could belong to."""
    agent: str | None = None
    """The innermost agent that it was done for, where that is known."""
    tags: dict[str, str] | None = None
    """Of its run: those that budgets name."""
    is_guarded: bool = False
    """A call that was reserved before it was made."""
    provider: str | None = None
    cost: Cost | None = None
    nested: bool = False
    """In an agent that its run uses as a tool."""
    retry: bool = False
    """A tool called again in its run after it failed, or with the same arguments."""
    stale: str | None = None
    """Why a tool's result is older than it looks, in words."""
    dated: bool | None = None
    """Whether a tool's result gave its data's time; None for tools that need not."""
