"""`workflows:`: read as written, or every problem with its place and what to write instead."""

from decimal import Decimal

import pytest

from tocsin.config.load import parse_settings
from tocsin.errors import ConfigError
from tocsin.guard.limits import StopLimits
from tocsin.runs.limits import WorkflowSLA

WHOLE = """\
workflows:
  customer-support:
    sla:
      latency: 15s
      tokens: 8000
      cost: 0.50 USD
      first_token: 2s
      turns: 10
      success: 99%
      window: 7d
      severity: critical
    stop:
      tokens: 20000
      cost: 2.00 USD
      latency: 120s
      turns: 25
      same_tool_call: 8
      warn_at: 80%
      switch_at: 90%
      switch: {gpt-4.1: gpt-4.1-mini}
      on_failure: closed
  "*":
    sla: {latency: 2m}
"""


def test_everything_that_can_be_said() -> None:
    settings = parse_settings(WHOLE, "tocsin.yaml")

    assert settings.slas == {
        "customer-support": WorkflowSLA(
            max_latency_seconds=15.0,
            max_tokens_per_request=8000,
            max_cost_per_request=Decimal("0.50"),
            max_first_token_seconds=2.0,
            max_turns=10,
            severity="critical",
            success=0.99,
            window_seconds=7 * 86_400,
        ),
        "*": WorkflowSLA(max_latency_seconds=120.0),
    }
    assert settings.stops == {
        "customer-support": StopLimits(
            max_tokens=20_000,
            max_cost="2.00 USD",
            max_latency="120s",
            max_turns=25,
            same_tool_call=8,
            warn_at=0.8,
            switch_at=0.9,
            switch={"gpt-4.1": "gpt-4.1-mini"},
            on_failure="closed",
        )
    }


def test_levels_hold_over_no_longer_a_time_than_runs_are_kept() -> None:
    text = "retention: {spans: 7d}\nworkflows: {w: {sla: {turns: 5}}}\n"
    assert 7 * 86_400 == parse_settings(text, "x").slas["w"].window_seconds


def test_an_entry_without_limits_exempts_its_workflow_from_those_of_all_others() -> None:
    settings = parse_settings("workflows: {w: {sla: {}, stop: {}}, x: {}}", "x")
    assert ({"w": WorkflowSLA()}, {"w": StopLimits()}) == (settings.slas, settings.stops)


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "t.yaml")
    return str(caught.value)


def test_all_problems_are_told_at_once_each_at_its_place() -> None:
    text = """\
retention: {spans: 30d}
workflows:
  support:
    sla: {latency: 0s, tokens: 8000, cost: 0.50 USD, success: 100%, window: 60d}
    stop: {tokens: 5000, cost: -2 USD, same_tool_call: 0, warn_at: 90%, switch_at: 80%}
  billing:
    sla: {latncy: 3s, severity: bad}
    stop: {turns: 2.5, latency: 10s, switch: {gpt-4.1: gpt-4.1-mini}, on_failure: ask}
  other: 5
  "*":
    sla: {latency: 15s}
"""
    assert (
        problems(text)
        == """\
t.yaml:4:11: workflows.support.sla.latency: '0s' is not right here; \
write a time above 0, such as 15s or 2m
t.yaml:4:54: workflows.support.sla.success: '100%' is not right here; \
write a share above 0 % and below 100 %, such as 99%
t.yaml:4:69: workflows.support.sla.window: 60d is longer than runs are kept; \
write 30d or less, or a longer time for retention.spans
t.yaml:5:12: workflows.support.stop.tokens: 5,000 tokens is below the service level \
of 8,000 tokens; write that or more
t.yaml:5:26: workflows.support.stop.cost: '-2 USD' is not right here; \
write US dollars above 0, such as 0.50 USD
t.yaml:5:40: workflows.support.stop.same_tool_call: 0 is not right here; \
write a whole number above 0
t.yaml:5:59: workflows.support.stop.warn_at: 90% comes after switch_at; write 80% or less
t.yaml:5:73: workflows.support.stop.switch_at: nothing to switch to; \
write switch too: {MODEL: CHEAPER MODEL}
t.yaml:7:11: workflows.billing.sla.latncy: is no key here; write latency
t.yaml:7:23: workflows.billing.sla.severity: 'bad' is not right here; \
write 'info', 'warning', 'error' or 'critical'
t.yaml:8:12: workflows.billing.stop.turns: 2.5 is not right here; write a whole number above 0
t.yaml:8:38: workflows.billing.stop.switch: never happens; \
write switch_at too, such as switch_at: 90%
t.yaml:8:71: workflows.billing.stop.on_failure: 'ask' is not right here; write 'open' or 'closed'
t.yaml:9:3: workflows.other: 5 is not right here; write keys with values: sla, stop"""
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workflows: 3", "t.yaml:1:1: workflows: 3 is not right here; write keys with values"),
        (
            "workflows: {w: {slo: {}}}",
            "t.yaml:1:17: workflows.w.slo: is no key here; write sla",
        ),
        (
            "workflows:\n  '*': {stop: {latency: 10s}}\n  w: {sla: {latency: 15s}}",
            "t.yaml:2:16: workflows.*.stop.latency: 10.0 s is below the service level of w of"
            " 15.0 s; write that or more",
        ),
        (
            "workflows:\n  w: {stop: {latency: 10s}}\n  '*': {sla: {latency: 15s}}",
            "t.yaml:2:14: workflows.w.stop.latency: 10.0 s is below the service level of"
            " 15.0 s; write that or more",
        ),
        (
            "workflows: {w: {sla: {cost: 5 EUR}}}",
            "t.yaml:1:23: workflows.w.sla.cost: '5 EUR' is not right here; write US dollars above"
            " 0, such as 0.50 USD",
        ),
        (
            "workflows: {w: {stop: {warn_at: 1.5}}}",
            "t.yaml:1:24: workflows.w.stop.warn_at: 1.5 is not right here; write a share of the"
            " limits above 0 and below 1, such as 0.8 or 80%",
        ),
        (
            "workflows: {w: {sla: {success: .inf}}}",
            "t.yaml:1:23: workflows.w.sla.success: inf is not right here; write a share above 0 %"
            " and below 100 %, such as 99%",
        ),
        (
            "workflows: {w: {sla: {latency: yes}}}",
            "t.yaml:1:23: workflows.w.sla.latency: True is not right here; write a time above 0,"
            " such as 15s or 2m",
        ),
        (
            "workflows: {w: {stop: {switch: {a: 5}, switch_at: 0.5}}}",
            "t.yaml:1:33: workflows.w.stop.switch.a: 5 is not right here; write string",
        ),
    ],
)
def test_one_problem(text: str, problem: str) -> None:
    assert problem == problems(text)


def test_a_stop_at_the_service_level_is_possible() -> None:
    text = "workflows: {w: {sla: {tokens: 5}, stop: {tokens: 5}}, v: {stop: {tokens: 1}}}"
    assert 5 == parse_settings(text, "x").stops["w"].max_tokens
