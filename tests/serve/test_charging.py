"""Which budgets a call's span counts into, when, and for whom."""

from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS, NS
from tests.fakes.spans import span
from tocsin.guard.budgets import Budget
from tocsin.model.span import Cost, ErrorClass, Kind, Span, Usage
from tocsin.runs.fold import fold
from tocsin.serve.charging import Charger
from tocsin.sources.tocsin_attributes import BUDGET_WORKER, TAG
from tocsin.store.charges import Charge

COST = Cost(Decimal("0.25"), Decimal("0.5"), Decimal(0), Decimal(0))
MIDNIGHT_NS = NOON_NS - 43_200 * NS


def call(**fields: Any) -> Span:
    found: dict[str, Any] = {"parent_id": "a", "model": "gpt-4o", "usage": Usage(10, 5)}
    return span(Kind.LLM, "c", **(found | fields))


def charges(*budgets: Budget, cost: Cost | None = COST, **fields: Any) -> tuple[Charge, ...]:
    """Charge a call of the agent Helper, in a run of the workflow Support."""
    made = call(**fields)
    root = span(Kind.AGENT, "r", name="Boss", workflow="Support", conversation_id="chat/7")
    helper = span(Kind.AGENT, "a", "t1", name="Helper")
    tool = span(Kind.TOOL, "t1", "r", name="ask_helper")
    (folded,) = fold([root, tool, helper, made])
    return Charger(budgets).of_run(folded)(made, cost)


def test_a_call_counts_with_its_cost_into_the_period_in_which_it_ended() -> None:
    expected = Charge("all", MIDNIGHT_NS, NOON_NS // NS, "", Decimal("0.75"))
    assert (expected,) == charges(Budget("all", limit=1))
    assert (expected.period_ns + 86_400 * NS, expected.slot_s + 43_200) == (
        (late := charges(Budget("all", limit=1), lasts_s=43_200)[0]).period_ns,
        late.slot_s,
    )


def test_hours_have_finer_slots() -> None:
    (charge,) = charges(Budget("all", limit=1, per="hour"), at_s=100)
    assert (NOON_NS, NOON_NS // NS + 60) == (charge.period_ns, charge.slot_s)


@pytest.mark.parametrize(
    ("scope", "is_in"),
    [
        ({"workflow": "Support"}, True),
        ({"workflow": "Other"}, False),
        ({"model": ["gpt-4.1", "gpt-4o"]}, True),
        ({"model": "gpt-4.1"}, False),
        ({"agent": "Helper"}, True),
        ({"agent": "Boss"}, False),
        ({"tags": {"group_id": "chat/7"}}, True),
        ({"tags": {"customer": "acme"}}, False),
        ({"workflow": "Support", "model": "gpt-4o", "agent": "Helper"}, True),
        ({"workflow": "Support", "agent": "Boss"}, False),
    ],
)
def test_scope(scope: dict[str, Any], is_in: bool) -> None:
    assert is_in == bool(charges(Budget("b", limit=1, **scope)))


def test_an_agent_that_the_call_names_goes_before_the_one_around_it() -> None:
    assert charges(Budget("b", limit=1, agent="Named"), agent="Named")


def test_what_has_no_price_is_unknown() -> None:
    assert [None] == [charge.usd for charge in charges(Budget("b", limit=1), cost=None)]


def test_a_call_that_failed_without_using_anything_is_no_call() -> None:
    failed: dict[str, Any] = {"usage": None, "cost": None}
    budget = Budget("b", limit=1)
    assert not charges(budget, error=ErrorClass.RATE_LIMIT, **failed)
    assert charges(budget, error=ErrorClass.CANCELLED, **failed)
    assert charges(budget, **failed)


def test_a_program_that_has_the_budgets_says_tags_too() -> None:
    told: dict[str, Any] = {"attributes": {TAG + "customer": "acme"}}
    assert charges(Budget("b", limit=1, tags={"customer": "acme"}), **told)
    assert not charges(Budget("b", limit=1, tags={"customer": "other"}), **told)
    both = Budget("b", limit=1, tags={"customer": "acme", "group_id": "chat/7"})
    assert charges(both, **told)


def test_says_who_reports_the_cost_besides() -> None:
    (charge,) = charges(Budget("b", limit=1), attributes={BUDGET_WORKER: "w"})
    assert "w" == charge.worker


def test_without_budgets_there_is_nothing_to_charge() -> None:
    assert () == charges()
