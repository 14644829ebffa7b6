"""Settled traces -> prices, observers, and what the store keeps."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from tocsin.meters.observer import Observer
from tocsin.model.label import UNKNOWN
from tocsin.model.run import Run
from tocsin.model.span import Cost, Kind, Observation, Span
from tocsin.quality.watch import QualityWatch
from tocsin.runs.conversations import Conversations
from tocsin.runs.fold import FoldedRun
from tocsin.runs.spend import DailySpend
from tocsin.runs.traces import Settled
from tocsin.runs.tree import CALLS, FRAMES
from tocsin.serve.charging import Charger
from tocsin.store.base import NO_RUN, StoredRun, StoredSpan

__all__ = ["Prices", "RunCounter"]

AROUND: Final = FRAMES | {Kind.OTHER}
"""Kinds of spans that are no work, but tell whose work is inside of them."""


class Prices(Protocol):
    """What a counter needs to know about money."""

    def cost(self, span: Span) -> Cost | None:
        """Price a call; None when unknown."""
        ...

    def provider(self, span: Span) -> str | None:
        """Who serves a call's model."""
        ...


class RunCounter:
    """Tells observers of every span and every run once, and makes rows of them.

    Not thread-safe; the consumer's thread owns it.
    """

    def __init__(
        self,
        prices: Prices,
        observers: Sequence[Observer],
        *,
        charger: Charger | None = None,
        judge: Callable[[FoldedRun], None] | None = None,
    ) -> None:
        """charger: says which budgets calls count into. judge: compares runs that are over with
        their service levels.
        """
        self.spend = DailySpend()
        self._charger = charger or Charger(())
        self._compare = judge
        self._prices = prices
        self._observers = observers
        self._conversations = Conversations()
        self._quality = QualityWatch()

    def count(self, settled: Settled) -> tuple[list[StoredSpan], list[StoredRun]]:
        """Count a trace's fresh spans and, once they are over, its runs."""
        spans: list[StoredSpan] = []
        runs: list[StoredRun] = []
        for folded in settled.runs:
            is_new = folded.run.run_id in settled.new_runs
            if is_new:
                self._run_started(folded)
            is_known = settled.is_over or folded.reported is not None
            spans += self._spans(folded, settled.fresh, folded.run.run_id if is_known else None)
            if settled.is_over or is_new:
                runs.append(_stored_run(folded))
            if self._compare is not None and (settled.is_over or is_new):
                self._compare(folded)
            if is_new:
                self._judge(folded)
                self._run_ended(folded)
        spans += [
            StoredSpan(
                span=_uncounted(span),
                workflow=span.workflow or UNKNOWN,
                run_id=NO_RUN if settled.is_over else None,
            )
            for span in settled.rest
            if span.span_id in settled.fresh
        ]
        return spans, runs

    def _spans(
        self, folded: FoldedRun, fresh: frozenset[str], run_id: str | None
    ) -> list[StoredSpan]:
        rows: list[StoredSpan] = []
        charges = self._charger.of_run(folded)
        for placed in folded.spans:
            cost = provider = None
            span = placed.span if placed.counted else _uncounted(placed.span)
            if span.kind in CALLS:
                cost, provider = self._prices.cost(span), self._prices.provider(span)
                _add_cost(folded.run, span, cost)
            if span.span_id not in fresh:
                continue
            row = StoredSpan(
                span=span,
                workflow=folded.run.workflow,
                run_id=run_id,
                provider=provider,
                cost=cost,
                retry=placed.retry,
                content=span.content,
                charges=charges(span, cost) if span.kind in CALLS else (),
            )
            rows.append(row)
            if placed.counted:
                self._span_ended(row)
        return rows

    def _run_started(self, folded: FoldedRun) -> None:
        for observer in self._observers:
            observer.run_started(folded.run)

    def _span_ended(self, observation: Observation) -> None:
        cost = observation.cost
        if cost is not None or observation.span.usage is not None:
            self.spend.add(None if cost is None else cost.total, observation.span.ended_ns)
        for observer in self._observers:
            observer.span_ended(observation)

    def _judge(self, folded: FoldedRun) -> None:
        kept = (p for p in folded.spans if p.counted or p.span.kind in AROUND)
        spans = [placed.span for placed in kept]
        for finding in self._quality.replay(folded.run, spans):
            for observer in self._observers:
                observer.found(finding)

    def _run_ended(self, folded: FoldedRun) -> None:
        turns = None
        if folded.run.conversation_id is not None:
            turns = self._conversations.continue_one(folded.run.conversation_id)
        for observer in self._observers:
            observer.run_ended(folded.run, turns)


def _add_cost(run: Run, span: Span, cost: Cost | None) -> None:
    if cost is not None:
        run.priced_calls += 1
        run.cost_usd += cost.total
    elif span.usage is not None:
        run.unpriced_calls += 1


def _uncounted(span: Span) -> Span:
    """A call that only repeats another is kept as structure, or sums would count it twice."""
    if span.kind in CALLS:
        return msgspec.structs.replace(span, kind=Kind.OTHER, usage=None)
    return span


def _stored_run(folded: FoldedRun) -> StoredRun:
    root = folded.root
    return StoredRun(run=folded.run, service=root.service, environment=root.environment)
