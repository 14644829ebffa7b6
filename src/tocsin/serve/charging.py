"""Which budgets a call counts into, as far as its span tells."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tocsin.guard.budgets import Budget, Work
from tocsin.guard.periods import Calendar
from tocsin.guard.timeline import SLOT_S
from tocsin.model.label import GROUP_TAG
from tocsin.model.span import Cost, ErrorClass, Kind, Span
from tocsin.runs.fold import FoldedRun
from tocsin.sources.tocsin_attributes import BUDGET_WORKER, TAG
from tocsin.store.charges import Charge

__all__ = ["Charger"]

NS_PER_S: Final = 1_000_000_000
MAX_DEPTH: Final = 32
CUT_OFF: Final = (None, ErrorClass.CANCELLED)
"""Errors of calls that used tokens, whether they reported them or not."""

Charging = Callable[[Span, Cost | None], tuple[Charge, ...]]


class Charger:
    """Makes the charges of calls. A call counts into the period in which it ended."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._calendars = {budget.name: Calendar(budget.per, budget.zone) for budget in budgets}
        self._needs_agent = any(budget.agent for budget in budgets)

    def of_run(self, folded: FoldedRun) -> Charging:
        """Return what makes the charges of a run's calls."""
        if not self._budgets:
            return uncharged
        parents = {placed.span.span_id: placed.span for placed in folded.spans}
        tags = tags_of(folded)

        def charges(span: Span, cost: Cost | None) -> tuple[Charge, ...]:
            if cost is None and span.usage is None and span.error not in CUT_OFF:
                return ()
            agent = agent_of(span, parents) if self._needs_agent else None
            work = Work(folded.run.workflow, span.model, agent, tags | own_tags(span))
            covering = [budget for budget in self._budgets if budget.covers(work)]
            worker = span.attributes.get(BUDGET_WORKER, "")
            usd = None if cost is None else cost.total
            return tuple(
                Charge(
                    budget.name,
                    self._calendars[budget.name].period(span.ended_ns).start_ns,
                    slot_of(span.ended_ns, SLOT_S[budget.per]),
                    worker,
                    usd,
                )
                for budget in covering
            )

        return charges


def uncharged(_span: Span, _cost: Cost | None) -> tuple[Charge, ...]:
    """Charge nothing: there are no budgets."""
    return ()


def slot_of(at_ns: int, slot_s: int) -> int:
    """Second in which the slot of a time begins."""
    at_s = at_ns // NS_PER_S
    return at_s - at_s % slot_s


def own_tags(span: Span) -> dict[str, str]:
    """Tags that a call of a program says which has this server's budgets."""
    return {
        name.removeprefix(TAG): tag for name, tag in span.attributes.items() if name.startswith(TAG)
    }


def tags_of(folded: FoldedRun) -> dict[str, str]:
    """Tags of a run that spans of any kind tell: its conversation."""
    found = folded.run.conversation_id
    return {} if found is None else {GROUP_TAG: found}


def agent_of(span: Span, spans: Mapping[str, Span]) -> str | None:
    """Agent that made a call: as the call says, or the one around it."""
    outer: Span | None = span
    for _ in range(MAX_DEPTH):
        if outer is None or outer.agent is not None:
            break
        if outer.kind is Kind.AGENT:
            return outer.name
        outer = spans.get(outer.parent_id or "")
    return None if outer is None else outer.agent
