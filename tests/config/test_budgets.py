"""`budgets:`: read as written, or every problem with its place and what to write instead."""

import pytest

from tocsin.config.load import parse_settings
from tocsin.errors import ConfigError
from tocsin.guard.budgets import Budget

WHOLE = """\
workflows: {support: {}}
budgets:
  - {name: all, limit: 50 USD}
  - name: acme
    limit: 5 USD
    per: month
    timezone: Europe/Berlin
    workflow: support
    model: [gpt-4.1, gpt-4.1-mini]
    agent: billing
    tags: {customer: acme, tier: 1}
    alert_at: [50%, 80%, 100%]
    stop_at: 120%
    on_failure: closed
"""


def test_everything_that_can_be_said() -> None:
    assert parse_settings(WHOLE, "tocsin.yaml").spending == [
        Budget("all", limit="50 USD"),
        Budget(
            "acme",
            limit=5,
            per="month",
            timezone="Europe/Berlin",
            workflow="support",
            model=["gpt-4.1", "gpt-4.1-mini"],
            agent="billing",
            tags={"customer": "acme", "tier": 1},
            alert_at=(0.5, 0.8, 1),
            stop_at=1.2,
            on_failure="closed",
        ),
    ]


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "t.yaml")
    return str(caught.value)


def test_all_problems_are_told_at_once_each_at_its_place() -> None:
    text = """\
workflows: {support: {stop: {turns: 0}}}
budgets:
  - {name: all, limit: 0 USD, per: week, timezone: Mars/Olympus}
  - {name: all, limit: 5 USD, workflow: billing, alert_at: [50%, 150%], stop_at: 120%}
  - limit: -5
    alert_at: 80%
    stop_at: 99999%
    tags: [customer]
    modle: gpt-4.1
  - 50 USD
"""
    assert (
        problems(text)
        == """\
t.yaml:1:30: workflows.support.stop.turns: 0 is not right here; write a whole number above 0
t.yaml:3:17: budgets.0.limit: '0 USD' is not right here; \
write US dollars above 0, such as 50 USD
t.yaml:3:31: budgets.0.per: 'week' is not right here; write 'hour', 'day' or 'month'
t.yaml:3:42: budgets.0.timezone: 'Mars/Olympus' is not right here; write a name such as \
Europe/Berlin (where the system has no time zones: pip install tzdata)
t.yaml:4:6: budgets.1.name: 'all' is taken; write another name
t.yaml:4:31: budgets.1.workflow: 'billing' is not under workflows, where there are: support; \
write one of them, or add it there, or "*" for all others
t.yaml:4:50: budgets.1.alert_at: 150% is never reached, as calls are stopped at 120%; \
write less, or a higher stop_at
t.yaml:5:5: budgets.2.limit: -5 is not right here; write US dollars above 0, such as 50 USD
t.yaml:5:5: budgets.2.name: is missing; write it too
t.yaml:6:5: budgets.2.alert_at: '80%' is not right here; \
write shares of the limit, such as [50%, 80%, 100%]
t.yaml:7:5: budgets.2.stop_at: '99999%' is not right here; write a share, such as 120%
t.yaml:8:5: budgets.2.tags: ['customer'] is not right here; write tags as {customer: acme}
t.yaml:9:5: budgets.2.modle: is no key here; write model
t.yaml:10:5: budgets.3: '50 USD' is not right here; write keys with values: name, limit, per, \
timezone, workflow, model, agent, tags, alert_at, stop_at, on_failure"""
    )


@pytest.mark.parametrize(
    "workflows", ["{support: {}, billing: {}}", "{'*': {sla: {latency: 15s}}}"]
)
def test_a_budget_of_a_workflow_that_is_known_or_one_of_all_others(workflows: str) -> None:
    text = f"workflows: {workflows}\nbudgets: [{{name: b, limit: 5, workflow: billing}}]"
    (budget,) = parse_settings(text, "x").spending
    assert ("billing",) == budget.workflow


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("budgets: {name: all}", "t.yaml:1:1: budgets: {'name': 'all'} is not right here; write a"
         " list"),
        (
            "budgets: [{name: b, limit: 5, workflow: w}]",
            "t.yaml:1:31: budgets.0.workflow: 'w' is not under workflows, where there are: none"
            ' yet; write one of them, or add it there, or "*" for all others',
        ),
        (
            "budgets: [{name: b, limit: 5, model: []}]",
            "t.yaml:1:31: budgets.0.model: [] is not right here; write a name, or a list of them",
        ),
    ],
)  # fmt: skip
def test_one_problem(text: str, problem: str) -> None:
    assert problem == problems(text)
