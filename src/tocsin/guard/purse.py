"""Budgets as one run sees them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Protocol

from tocsin.guard.account import Account
from tocsin.guard.budget_account import BudgetAccount
from tocsin.guard.budgets import Work

__all__ = ["Purse", "Teller"]


MAX_FOUND: Final = 1_000


class Teller(Protocol):
    """Who keeps the budgets. Called on threads that run agents: notes it down, and never waits."""

    def report(self, work: Work, usd: Decimal | None) -> None:
        """Hear of a call that no span tells of; usd is None where its price is unknown."""
        ...

    def refused(self, budget: str) -> None:
        """Hear that a call was refused for lack of room in a budget."""
        ...


class Purse:
    """Accounts of the budgets that a run's calls are reserved against, by model and agent.

    A run inside another has the outer one's. Which budgets a call counts into is found once for
    each pair of names, of which a run has few.
    """

    def __init__(
        self,
        accounts: Sequence[BudgetAccount],
        teller: Teller,
        *,
        workflow: str,
        tags: Mapping[str, str],
    ) -> None:
        self.teller = teller
        self.workflow = workflow
        self.tags = tags
        self._accounts = [one for one in accounts if one.budget.concerns(workflow, tags)]
        self._found: dict[tuple[str | None, str | None], tuple[Account, ...]] = {}
        self.is_closed = any(one.budget.on_failure == "closed" for one in self._accounts)

    @property
    def is_empty(self) -> bool:
        """Whether no call of the run counts into any of the budgets."""
        return not self._accounts

    def accounts(self, model: str | None, agent: str | None) -> Sequence[Account]:
        """Accounts that a call counts into."""
        found = self._found.get((model, agent))
        if found is None:
            work = self.work(model, agent)
            found = tuple(one for one in self._accounts if one.budget.covers(work))
            if len(self._found) >= MAX_FOUND:
                self._found.clear()  # names come from outside
            self._found[model, agent] = found
        return found

    def work(self, model: str | None, agent: str | None) -> Work:
        """What a call of the run belongs to."""
        return Work(self.workflow, model, agent, self.tags)
