"""From decoded spans to committed runs, never past what a restart could not rebuild."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from tocsin.meters import catalogue as m
from tocsin.meters.registry import Amount, Registry
from tocsin.model.span import Span
from tocsin.model.telemetry import Format
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.sources.otlp import decode_traces
from tocsin.store.base import Batch, SpanStore
from tocsin.store.record import Record

__all__ = ["Part", "TraceSink"]

REBUILD_NS: Final = 24 * 3600 * 1_000_000_000
SEAL_EVERY_S: Final = 3600.0
FORGOTTEN_NS: Final = 240 * 1_000_000_000
"""Less than a settled trace is remembered for."""
MARGIN_NS: Final = 3600 * 1_000_000_000
"""How much earlier than the span that came the others of its trace may have begun."""
SETTLE_EVERY_S: Final = 0.25
"""A commit costs as much as some hundred spans; a quarter of a second is not waited for."""


class Part(msgspec.Struct, frozen=True):
    """The spans of one journal record."""

    seq: int
    spans: list[Span]


class TraceSink:
    """Takes decoded records, and commits what has settled.

    The position that is stored stops before the first record with a span still in memory: after
    a crash the journal is read again from there, and the store leaves out what it has. Not
    thread-safe; the consumer's thread owns it.
    """

    def __init__(
        self,
        store: SpanStore,
        book: TraceBook,
        counter: RunCounter,
        registry: Registry,
        *,
        keep_content: bool = False,
        settle_every_s: float = SETTLE_EVERY_S,
    ) -> None:
        self._store = store
        self._registry = registry
        self._book = book
        self._counter = counter
        self._keep_content = keep_content
        self._read = store.position()
        self._pending: Batch | None = None
        self._settle_every_ns = int(settle_every_s * 1e9)
        self._settle_at_ns = 0
        self._seal_at_s = 0.0
        self._started_ns = time.time_ns()
        self._skipped: Counter[str] = Counter()
        self._repaired: Counter[str] = Counter()
        self._stored_spans = 0
        rebuilt = store.unfinished(time.time_ns() - REBUILD_NS)
        book.restore([stored.span for stored in rebuilt], time.monotonic_ns())

    def decode(self, record: Record) -> Sequence[Part]:
        """Read a record's spans. Raises DecodeError."""
        decoded = decode_traces(
            record.body, is_json=record.kind == Format.JSON, keep_content=self._keep_content
        )
        self._skipped.update(decoded.skipped)
        self._repaired.update(decoded.repaired)
        return [Part(record.seq, decoded.spans)]

    def position(self) -> int:
        """Return the last record that need not be read again after a restart."""
        waiting = self._book.first_waiting()
        return self._read if waiting is None else min(self._read, waiting - 1)

    def commit(self, batch: Sequence[Part], position: int) -> None:
        """Take records up to a position, and commit what has settled. Raises StoreError."""
        self._flush()
        now_ns = time.monotonic_ns()
        self._recall([span for part in batch for span in part.spans], now_ns)
        for part in batch:
            self._book.add(part.spans, part.seq, now_ns)
        self._read = position
        if now_ns >= self._settle_at_ns:
            self._settle(now_ns)
            self._publish()

    def idle(self) -> None:
        """Commit what has settled meanwhile, and seal past days. Raises StoreError."""
        self._flush()
        self._settle(time.monotonic_ns())
        self._publish()
        if time.monotonic() >= self._seal_at_s:
            self._seal_at_s = time.monotonic() + SEAL_EVERY_S
            self._store.seal(time.time_ns())

    def _recall(self, spans: Sequence[Span], now_ns: int) -> None:
        """Bring back from the store what is there of traces that memory may have lost.

        They began before this process did, or so long ago that they may have been forgotten, or
        there was no room for them. A span that comes late, or once more, must amend its run and not
        replace it.
        """
        forgotten_ns = max(self._started_ns, time.time_ns() - FORGOTTEN_NS)
        book = self._book
        old = [
            span
            for span in spans
            if (span.started_ns < forgotten_ns or book.was_spilled(span.trace_id))
            and not book.knows(span.trace_id)
        ]
        if not old:
            return
        since_ns = min(span.started_ns for span in old) - MARGIN_NS
        stored = self._store.of_traces(sorted({span.trace_id for span in old}), since_ns)
        book.restore([found.span for found in stored], now_ns, are_over=True)

    def _settle(self, now_ns: int) -> None:
        self._settle_at_ns = now_ns + self._settle_every_ns
        settled = self._book.settled(now_ns)
        if not settled:
            return
        counted = [self._counter.count(trace) for trace in settled]
        self._pending = Batch(
            spans=[span for spans, _ in counted for span in spans],
            runs=[run for _, runs in counted for run in runs],
        )
        self._flush()

    def _flush(self) -> None:
        """Commit what is counted already; it stays pending until the store takes it."""
        if self._pending is None:
            return
        position = self.position()
        advances = position > self._store.position()
        self._store.commit(
            msgspec.structs.replace(self._pending, position=position if advances else None)
        )
        self._stored_spans += len(self._pending.spans)
        self._pending = None

    def _publish(self) -> None:
        book = self._book
        totals: dict[tuple[m.Metric, tuple[str, ...]], Amount] = {
            (m.LATE_SPANS, ()): book.late_spans,
            (m.OTLP_DUPLICATES, ()): book.duplicates,
            (m.OTLP_SPILLED, ()): book.spilled_traces,
            (m.HELD_SPANS, ()): book.held_spans,
            (m.STORE_SPANS, ()): self._stored_spans,
            (m.BUDGET_SPENT, ("all",)): self._counter.spend.today(time.time_ns()),
        }
        for metric, by_reason in (
            (m.OTLP_SKIPPED, self._skipped),
            (m.OTLP_REPAIRED, self._repaired),
        ):
            for reason, count in by_reason.items():
                totals[metric, (reason,)] = count
        with self._registry.updating():
            for (metric, labels), total in totals.items():
                self._registry.set(metric, labels, total)
