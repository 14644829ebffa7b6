"""What a span store does, whatever engine is behind it."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from tocsin.model.run import Outcome, Run
from tocsin.model.span import Observation
from tocsin.store.charges import Charge
from tocsin.store.level_counts import FAILED, LevelCount, LevelQuery

__all__ = [
    "EVERYTHING",
    "FAILED",
    "NO_RUN",
    "Batch",
    "Conversation",
    "ErrorCount",
    "GroupBy",
    "Latency",
    "Receipt",
    "RunOrder",
    "RunPage",
    "RunQuery",
    "RunReader",
    "RunView",
    "Scope",
    "Sealed",
    "SpanStore",
    "StoredRun",
    "StoredSpan",
    "UsageSum",
    "Window",
]

NO_RUN: Final = ""
"""Run of spans that belong to none: what surrounds runs, and traces without any agent."""


class StoredSpan(Observation, frozen=True, kw_only=True, gc=False):
    """A span as it is stored. Dollars are kept to 12 decimals.

    workflow: of the run; `span.workflow` is only what the span itself says. run_id: None while its
    trace is not whole, as its root may be yet to come; NO_RUN where it has none. What was found
    of a result's freshness is not kept.
    """

    content: dict[str, str] = msgspec.field(default_factory=dict)
    """Prompts, completions, arguments; the store drops them unless told to keep them."""
    charges: tuple[Charge, ...] = ()
    """To be added up with the span, in the same transaction."""


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run, finished or open, with where it ran. `run.started_mono_ns` is not kept."""

    run: Run
    service: str | None = None
    environment: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored in one transaction.

    runs replace what is stored under their run_id. position: the last journal record that this
    batch completes; None where it completes none (a run that a timer closed).
    """

    spans: Sequence[StoredSpan] = ()
    runs: Sequence[StoredRun] = ()
    position: int | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What of a batch was new."""

    charges: list[Charge]
    """Of the spans that were not stored before."""
    seq: int
    """Grows with every batch that has new spans."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Time of start_ns <= t < end_ns, as one step, or in steps that are multiples of step_ns.

    Steps are counted from the epoch, so the first and the last may be cut short.
    """

    start_ns: int
    end_ns: int
    step_ns: int | None = None


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Only what equals every value that is not None."""

    workflow: str | None = None
    model: str | None = None
    tool: str | None = None
    agent: str | None = None
    service: str | None = None
    environment: str | None = None


EVERYTHING: Final = Scope()


class GroupBy(StrEnum):
    """What is compared with each other.

    Latency and errors are those of runs, of LLM calls, of tool calls, of agent spans. Usage is
    always that of LLM and embedding calls, by the workflow, model or agent they belong to.
    """

    WORKFLOW = "workflow"
    MODEL = "model"
    TOOL = "tool"
    AGENT = "agent"


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of one group in one step; percentiles are right within 2.5 %."""

    group: str
    at_ns: int
    """Where the step begins."""
    count: int
    p50_s: float
    p95_s: float
    p99_s: float


class ErrorCount(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one group in one step."""

    group: str
    at_ns: int
    total: int
    failed: int
    """Runs of a `FAILED` outcome; calls that failed and were not cancelled."""
    classes: dict[str, int]
    """Every error class, or every outcome but ok, that occurred, with how often."""

    @property
    def rate(self) -> float:
        """Share that failed, 0 to 1."""
        return self.failed / self.total


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and dollars of one group in one step."""

    group: str
    at_ns: int
    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    usage_missing: int
    """Calls that reported no tokens though they did not fail."""
    unpriced: int
    """Calls that reported tokens and have no known price."""
    cost_usd: Decimal | None
    """Sum over priced calls; None where not a single one could be priced."""


class RunOrder(StrEnum):
    """Which runs come first."""

    NEWEST = "newest"
    SLOWEST = "slowest"
    COSTLIEST = "costliest"
    MOST_TOKENS = "most_tokens"


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs, in what order, from where on. None does not filter."""

    order: RunOrder = RunOrder.NEWEST
    start_ns: int | None = None
    end_ns: int | None = None
    workflow: str | None = None
    outcomes: frozenset[Outcome] | None = None
    conversation_id: str | None = None
    service: str | None = None
    environment: str | None = None
    min_duration_s: float | None = None
    min_cost_usd: Decimal | None = None
    limit: int = 50
    cursor: str | None = None
    """`RunPage.next_cursor` of the page before."""


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some runs, and where the next ones begin; None on the last page."""

    runs: list[StoredRun]
    next_cursor: str | None


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """One run with its spans, in the order they began."""

    run: StoredRun
    spans: list[StoredSpan]


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one conversation, oldest first, and what they took together."""

    conversation_id: str
    runs: list[StoredRun]
    """At most as many as asked for."""
    run_count: int
    total_tokens: int
    cost_usd: Decimal | None
    """Sum over priced calls; None where not a single one could be priced."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of `seal` did."""

    spans: int
    """Moved from the live table into files."""
    sealed_days: list[dt.date]
    dropped_days: list[dt.date]


class RunReader(Protocol):
    """Questions about what is stored; any number of threads may ask.

    Raises StoreError where the disk or the database refuses, and QueryError where a question
    cannot be answered as it was asked.
    """

    def run(self, run_id: str) -> RunView | None:
        """Read one run with its spans."""
        ...

    def run_ids(self, start: str, end: str = "", *, limit: int) -> list[str]:
        """List ids of runs that begin and end so, in alphabetical order."""
        ...

    def runs(self, query: RunQuery) -> RunPage:
        """Read a page of runs."""
        ...

    def conversation(self, conversation_id: str, *, limit: int = 200) -> Conversation | None:
        """Read the runs of a conversation; None where there is none."""
        ...

    def latency(self, by: GroupBy, window: Window, scope: Scope = EVERYTHING) -> list[Latency]:
        """Compare durations, by group and step."""
        ...

    def errors(self, by: GroupBy, window: Window, scope: Scope = EVERYTHING) -> list[ErrorCount]:
        """Compare failures, by group and step."""
        ...

    def usage(self, by: GroupBy, window: Window, scope: Scope = EVERYTHING) -> list[UsageSum]:
        """Compare tokens and dollars, by group and step."""
        ...

    def count_levels(self, query: LevelQuery) -> list[LevelCount]:
        """Count the runs that kept to a service level, by workflow, limit and start.

        Workflows without such runs are left out; of many, those with most runs are counted.
        """
        ...


class SpanStore(RunReader, Protocol):
    """Spans and runs on disk. One thread writes at a time; any number read meanwhile.

    Everything raises StoreError where the disk or the database refuses.
    """

    def commit(self, batch: Batch) -> Receipt | None:
        """Store a batch wholly and durably, or not at all.

        Returns None, and stores nothing, for a batch whose position is not after `position()`:
        it was committed before. A span that is stored already (by trace, span and kind) is skipped.
        """
        ...

    def position(self) -> int:
        """Tell the last committed journal position; 0 before the first."""
        ...

    def unfinished(self, since_ns: int) -> list[StoredSpan]:
        """Read the spans begun since then whose run is not finished, in the order they ended."""
        ...

    def of_traces(self, trace_ids: Sequence[str], since_ns: int) -> list[StoredSpan]:
        """Read the spans of some traces that began since then."""
        ...

    def seal(self, now_ns: int) -> Sealed:
        """Move past days (UTC) into files and drop those beyond retention; cheap if none are due.

        May run on another thread than `commit`, and be interrupted at any point.
        """
        ...

    def close(self) -> None:
        """Finish what is going on and let go of the data directory."""
        ...
