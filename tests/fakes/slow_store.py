"""What a store should answer, worked out in the most obvious way."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Usage
from tocsin.store.base import (
    FAILED,
    Batch,
    ErrorCount,
    GroupBy,
    Scope,
    StoredRun,
    StoredSpan,
    UsageSum,
    Window,
)

Item = TypeVar("Item", StoredSpan, StoredRun)
KINDS = {GroupBy.MODEL: Kind.LLM, GroupBy.TOOL: Kind.TOOL, GroupBy.AGENT: Kind.AGENT}


class SlowStore:
    """Keeps everything in dicts and goes through all of it for each question."""

    def __init__(self) -> None:
        self.spans: dict[tuple[str, str, Kind], StoredSpan] = {}
        self.runs: dict[str, StoredRun] = {}

    def commit(self, batch: Batch) -> None:
        for stored in batch.spans:
            span = stored.span
            self.spans.setdefault((span.trace_id, span.span_id, span.kind), stored)
        self.runs |= {stored.run.run_id: stored for stored in batch.runs}

    def durations(
        self, by: GroupBy, window: Window, scope: Scope
    ) -> dict[tuple[str, int], list[float]]:
        """Return group and step -> sorted durations in seconds."""
        if by is GroupBy.WORKFLOW:
            runs = group(self._finished(scope), window, lambda s: s.run.workflow)
            return {key: sorted(s.run.duration_s for s in found) for key, found in runs.items()}
        spans = group(self._of(by, scope), window, lambda s: label(by, s))
        return {key: sorted(s.span.duration_s for s in found) for key, found in spans.items()}

    def errors(self, by: GroupBy, window: Window, scope: Scope) -> list[ErrorCount]:
        if by is GroupBy.WORKFLOW:
            runs = group(self._finished(scope), window, lambda s: s.run.workflow)
            outcomes = {key: [s.run.outcome for s in found] for key, found in runs.items()}
            return [count(*key, values, Outcome.OK, FAILED) for key, values in in_order(outcomes)]
        failed = frozenset(ErrorClass) - {ErrorClass.CANCELLED}
        spans = group(self._of(by, scope), window, lambda s: label(by, s))
        classes = {key: [s.span.error for s in found] for key, found in spans.items()}
        return [count(*key, values, None, failed) for key, values in in_order(classes)]

    def usage(self, by: GroupBy, window: Window, scope: Scope) -> list[UsageSum]:
        calls = [
            stored
            for stored in self.spans.values()
            if stored.span.kind in (Kind.LLM, Kind.EMBEDDING) and is_in(scope, stored)
        ]
        names: dict[GroupBy, Callable[[StoredSpan], str]] = {
            GroupBy.WORKFLOW: lambda s: s.workflow,
            GroupBy.MODEL: lambda s: s.span.model or "unknown",
            GroupBy.AGENT: lambda s: s.span.agent or "unknown",
        }
        groups = group(calls, window, names[by])
        return [add_up(*key, found) for key, found in in_order(groups)]

    def _finished(self, scope: Scope) -> list[StoredRun]:
        return [
            stored
            for stored in self.runs.values()
            if stored.run.outcome is not None
            and scope.workflow in (None, stored.run.workflow)
            and scope.service in (None, stored.service)
        ]

    def _of(self, by: GroupBy, scope: Scope) -> list[StoredSpan]:
        return [s for s in self.spans.values() if s.span.kind is KINDS[by] and is_in(scope, s)]


def is_in(scope: Scope, stored: StoredSpan) -> bool:
    span = stored.span
    agent = span.name if span.kind is Kind.AGENT else span.agent
    return (
        scope.workflow in (None, stored.workflow)
        and scope.model in (None, span.model)
        and scope.tool in (None, span.name)
        and scope.agent in (None, agent)
        and scope.service in (None, span.service)
        and scope.environment in (None, span.environment)
    )


def label(by: GroupBy, stored: StoredSpan) -> str:
    return (stored.span.model or "unknown") if by is GroupBy.MODEL else stored.span.name


def group(
    items: Iterable[Item], window: Window, name: Callable[[Item], str]
) -> dict[tuple[str, int], list[Item]]:
    groups: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in items:
        time = begin_of(item)
        if window.start_ns <= time < window.end_ns:
            step = time - time % window.step_ns if window.step_ns else 0
            groups[name(item), max(window.start_ns, step)].append(item)
    return groups


def begin_of(item: StoredSpan | StoredRun) -> int:
    return item.run.started_ns if isinstance(item, StoredRun) else item.span.started_ns


Answer = TypeVar("Answer")


def in_order(groups: dict[tuple[str, int], Answer]) -> list[tuple[tuple[str, int], Answer]]:
    """Sort by group, then time."""
    return sorted(groups.items(), key=lambda item: item[0])


def count(
    name: str,
    at_ns: int,
    values: list[Outcome | None] | list[ErrorClass | None],
    fine: Outcome | None,
    failures: Iterable[Outcome | ErrorClass],
) -> ErrorCount:
    wrong = [value for value in values if value is not fine and value is not None]
    classes = Counter(value.value for value in wrong)
    failed = sum(classes[failure.value] for failure in failures)
    return ErrorCount(
        group=name, at_ns=at_ns, total=len(values), failed=failed, classes=dict(classes)
    )


def add_up(name: str, at_ns: int, calls: list[StoredSpan]) -> UsageSum:
    usages = [call.span.usage for call in calls if call.span.usage is not None]
    costs = [call.cost.total for call in calls if call.cost is not None]
    sums = {field: sum(getattr(u, field) for u in usages) for field in Usage.__struct_fields__}
    return UsageSum(
        group=name,
        at_ns=at_ns,
        calls=sum(call.span.calls for call in calls),
        usage_missing=sum(
            call.span.usage is None and call.span.error in (None, ErrorClass.CANCELLED)
            for call in calls
        ),
        unpriced=sum(call.span.usage is not None and call.cost is None for call in calls),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        **sums,
    )
