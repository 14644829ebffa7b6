"""From decoded spans to committed runs, never past what a restart could not rebuild."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

import msgspec

from tocsin.errors import StoreError
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Readings, Registry
from tocsin.model.span import Span
from tocsin.model.telemetry import Format
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.serve.levels import Levels
from tocsin.sources.otlp import decode_traces
from tocsin.store.base import Batch, Receipt, SpanStore
from tocsin.store.record import Record

__all__ = ["Part", "TraceSink"]

logger = logging.getLogger(__name__)

REBUILD_NS: Final = 24 * 3600 * 1_000_000_000
SEAL_EVERY_S: Final = 3600.0
FORGOTTEN_NS: Final = 240 * 1_000_000_000
"""Less than a settled trace is remembered for."""
MARGIN_NS: Final = 3600 * 1_000_000_000
"""How much earlier than the span that came the others of its trace may have begun."""
SETTLE_EVERY_S: Final = 0.25
"""A commit costs as much as some hundred spans; a quarter of a second is not waited for."""


class Budgets(Protocol):
    """Who has to hear of what calls cost, once it is stored."""

    def charged(self, receipt: Receipt) -> None:
        """Add what was committed. Raises StoreError."""
        ...

    def reload(self) -> None:
        """Read again what is stored. Raises StoreError."""
        ...

    def readings(self) -> Readings:
        """Return values of the budgets' metrics. Raises StoreError."""
        ...


class Part(msgspec.Struct, frozen=True):
    """The spans of one journal record."""

    seq: int
    spans: list[Span]


class TraceSink:
    """Takes decoded records, and commits what has settled.

    The position that is stored stops before the first record with a span still in memory: after
    a crash the journal is read again from there, and the store leaves out what it has. A batch is
    committed on a thread of its own, while the next one is read: DuckDB does not need the GIL. Not
    thread-safe; the consumer's thread owns it.
    """

    def __init__(
        self,
        store: SpanStore,
        book: TraceBook,
        counter: RunCounter,
        registry: Registry,
        *,
        budgets: Budgets | None = None,
        keep_content: bool = False,
        settle_every_s: float = SETTLE_EVERY_S,
        levels: Levels | None = None,
    ) -> None:
        """levels: compares runs with their service levels; None where there are none."""
        self._store = store
        self._registry = registry
        self._book = book
        self._counter = counter
        self._budgets = budgets
        self._levels = levels
        self._keep_content = keep_content
        self._read = self._stored = store.position()
        self._writer = ThreadPoolExecutor(1, "store")
        self._pending: Batch | None = None
        """Counted, and not known to be committed."""
        self._writing: Future[Receipt | None] | None = None
        self._is_unsure = False
        """A commit failed, and may have been made all the same."""
        self._settle_every_ns = int(settle_every_s * 1e9)
        self._settle_at_ns = 0
        self._seal_at_s = 0.0
        self._started_ns = time.time_ns()
        self._skipped: Counter[str] = Counter()
        self._repaired: Counter[str] = Counter()
        self._stored_spans = 0
        rebuilt = store.unfinished(time.time_ns() - REBUILD_NS)
        book.restore([stored.span for stored in rebuilt], time.monotonic_ns())
        if levels is not None:
            levels.take([stored.span for stored in rebuilt], time.monotonic_ns())

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
        return self._reached() if self._pending is None else self._stored

    def commit(self, batch: Sequence[Part], position: int) -> None:
        """Take records up to a position, and have committed what has settled. Raises StoreError."""
        now_ns = time.monotonic_ns()
        is_due = now_ns >= self._settle_at_ns
        if is_due:
            self._finish()
            self._seal()  # where bodies never cease to come in, there is no idle moment
        self._recall([span for part in batch for span in part.spans], now_ns)
        for part in batch:
            self._book.add(part.spans, part.seq, now_ns)
            if self._levels is not None:
                self._levels.take(part.spans, now_ns)
        self._read = position
        if is_due:
            self._settle(now_ns)
            self._publish()

    def idle(self) -> None:
        """Commit what has settled meanwhile, and seal past days. Raises StoreError."""
        self._finish()
        self._settle(time.monotonic_ns())
        self._finish()
        self._publish()
        self._seal()

    def _seal(self) -> None:
        if time.monotonic() >= self._seal_at_s:
            self._seal_at_s = time.monotonic() + SEAL_EVERY_S
            self._store.seal(time.time_ns())

    def _reached(self) -> int:
        waiting = self._book.first_waiting()
        return self._read if waiting is None else min(self._read, waiting - 1)

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
        self._finish()
        since_ns = min(span.started_ns for span in old) - MARGIN_NS
        stored = self._store.of_traces(sorted({span.trace_id for span in old}), since_ns)
        book.restore([found.span for found in stored], now_ns, are_over=True)

    def _settle(self, now_ns: int) -> None:
        """Count what has settled and send it to the store; nothing may be on its way there."""
        self._settle_at_ns = now_ns + self._settle_every_ns
        settled = self._book.settled(now_ns)
        counted = [self._counter.count(trace) for trace in settled]
        if self._levels is not None:
            self._levels.sweep(now_ns)
            for trace in settled:
                if trace.is_over:
                    self._levels.forget(trace.trace_id)
        if not settled:
            return
        reached = self._reached()
        self._pending = Batch(
            spans=[span for spans, _ in counted for span in spans],
            runs=[run for _, runs in counted for run in runs],
            position=reached if reached > self._stored else None,
        )
        self._writing = self._writer.submit(self._store.commit, self._pending)

    def _finish(self) -> None:
        """Return once what was sent is committed; it stays pending, and is sent again, until then.

        Raises StoreError.
        """
        if self._pending is None:
            return
        writing = self._writing or self._writer.submit(self._store.commit, self._pending)
        self._writing = None  # what failed is sent anew
        receipt: Receipt | None = None
        try:
            receipt = writing.result()
        except StoreError:
            self._is_unsure = True
            raise
        except Exception:
            # Not the fault of the bodies that are read by now, so the consumer must not hear of it.
            logger.exception("the store cannot take a batch; its parts are stored one by one")
            self._store_apart(self._pending)
            self._is_unsure = True
        self._charge(receipt)
        self._stored = self._pending.position or self._stored
        self._stored_spans += len(self._pending.spans)
        self._pending = None

    def _charge(self, receipt: Receipt | None) -> None:
        """Tell the budgets what is stored by now. Raises StoreError."""
        if self._budgets is None:
            return
        if self._is_unsure or receipt is None:
            self._budgets.reload()
            self._is_unsure = False
        elif receipt.charges:
            self._budgets.charged(receipt)

    def _store_apart(self, batch: Batch) -> None:
        """Leave out, and count, only what the store never takes. Raises StoreError."""
        parts = [Batch(spans=[span]) for span in batch.spans]
        for part in [*parts, *(Batch(runs=[run]) for run in batch.runs)]:
            try:
                self._store.commit(part)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - told above, with the whole batch
                self._skipped["unstorable"] += 1
        self._store.commit(Batch(position=batch.position))

    def close(self) -> None:
        """Wait for what is being written, then let go of the store."""
        self._writer.shutdown()
        self._store.close()

    def _publish(self) -> None:
        book = self._book
        totals: Readings = {
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
        if self._budgets is not None:
            totals |= self._budgets.readings()  # one named "all" replaces the sum of everything
        with self._registry.updating():
            for (metric, labels), total in totals.items():
                self._registry.set(metric, labels, total)
