"""The default rules, judged by Prometheus' own tool."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tocsin.meters.catalogue import CATALOGUE
from tocsin.model.finding import Signal

PACK = Path(str(files("tocsin") / "packs" / "agents.yml"))
RULES = [rule for group in yaml.safe_load(PACK.read_text())["groups"] for rule in group["rules"]]
SUFFIX = re.compile(r"_(?:count|sum|bucket)$")


def test_every_signal_has_a_rule() -> None:
    text = PACK.read_text()
    by_counter = {Signal.STALE_TOOL_OUTPUT: "agent_tool_stale_results_total"}
    missing = [s for s in Signal if by_counter.get(s, f'signal="{s}"') not in text]
    assert [] == missing


def test_rules_ask_for_metrics_that_exist() -> None:
    known = {metric.name for metric in CATALOGUE}
    asked = {name for rule in RULES for name in re.findall(r"\bagent_\w+", rule["expr"])}
    assert set() == {SUFFIX.sub("", name) for name in asked} - known


def test_rules_are_right(require_program: Callable[[str], str]) -> None:
    check = [require_program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(PACK)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr + done.stdout


def signal(name: str, values: str) -> tuple[str, str]:
    return f'agent_quality_signals_total{{signal="{name}",workflow="w"}}', values


def runs(values: str, workflow: str = "w") -> tuple[str, str]:
    return f'agent_workflow_runs_total{{workflow="{workflow}",outcome="ok"}}', values


def of_tool(metric: str, values: str) -> tuple[str, str]:
    return f'{metric}{{tool="quote",workflow="w"}}', values


def budget(metric: str, values: str, labels: str = "") -> tuple[str, str]:
    return f'{metric}{{budget="team"{labels}}}', values


SPENT, LIMIT = "agent_budget_spent_dollars", "agent_budget_limit_dollars"
FORECAST = "agent_budget_forecast_dollars"
PACE, YESTERDAY = ',estimate="pace"', ',estimate="yesterday"'
UNPRICED = "agent_budget_unpriced_calls_total"
BY_SIGNAL = {
    "AgentToolLoop": Signal.TOOL_LOOP,
    "AgentNoProgress": Signal.NO_PROGRESS,
    "AgentHandoffPingPong": Signal.HANDOFF_PING_PONG,
    "AgentRetryStorm": Signal.RETRY_STORM,
    "AgentGuardrailSilent": Signal.GUARDRAIL_SILENT,
    "AgentEmptyAnswers": Signal.EMPTY_ANSWER,
    "AgentTruncatedAnswers": Signal.TRUNCATED_ANSWER,
    "AgentFilteredAnswers": Signal.FILTERED_ANSWER,
}
BUSY, QUIET = "0+20x60", "0 0 0 1 1 1 2 2 2 3x60"
CHECKS = 'agent_guardrail_checks_total{guardrail="g",workflow="w"}'
CALLS = "agent_tool_duration_seconds_count"
STALE, UNDATED = "agent_tool_stale_results_total", "agent_tool_undated_results_total"


@dataclass(frozen=True, slots=True)
class Case:
    """Series a minute apart, and whether a rule fires at a minute."""

    alert: str
    series: list[tuple[str, str]]
    fires: bool
    at_m: int = 20


CASES = (
    [
        case
        for alert, name in BY_SIGNAL.items()
        for case in (
            Case(alert, [signal(name, "0x10 0+2x20"), runs(BUSY)], fires=True),
            Case(alert, [signal(name, "0x10 1x20"), runs("0x10 3x20")], fires=False),
            Case(alert, [signal(name, "0x12 4x20"), runs(BUSY)], fires=False),
            Case(alert, [signal(name, "0x12 4x20"), runs("0x60")], fires=True),
            Case(alert, [signal("other", "0+2x60"), runs(BUSY)], fires=False),
        )
    ]
    + [
        Case(
            "AgentStaleToolData", [of_tool(STALE, "0+1x60"), of_tool(CALLS, "0+4x60")], fires=True
        ),
        Case(
            "AgentStaleToolData", [of_tool(STALE, "0+1x60"), of_tool(CALLS, "0+40x60")], fires=False
        ),
        Case("AgentStaleToolData", [of_tool(STALE, "0x60"), of_tool(CALLS, "0+4x60")], fires=False),
        Case(
            "AgentToolDataUndated", [of_tool(UNDATED, "0+1x60"), of_tool(CALLS, "0+1x60")], True, 60
        ),
        Case(
            "AgentToolDataUndated",
            [of_tool(UNDATED, "0+1x60"), of_tool(CALLS, "0+4x60")],
            False,
            60,
        ),
        Case("AgentGuardrailNotRunning", [(CHECKS, "0+1x60 60x60"), runs("0+1x120")], True, 110),
        Case("AgentGuardrailNotRunning", [(CHECKS, "0+1x60 _x60"), runs("0+1x120")], True, 110),
        Case("AgentGuardrailNotRunning", [(CHECKS, "0+1x120"), runs("0+1x120")], False, 110),
        Case(
            "AgentGuardrailNotRunning", [(CHECKS, "0+1x60 60x60"), runs("0+1x60 60x60")], False, 110
        ),
        Case("AgentGuardrailNotRunning", [runs("0+1x120")], False, 110),
        Case(
            "AgentGuardrailNotRunning",
            [(CHECKS, "0+1x120"), runs("0+1x120"), runs("0+1x120", "unguarded")],
            False,
            110,
        ),
        Case("AgentBudgetSpent", [budget(SPENT, "50x60"), budget(LIMIT, "50x60")], fires=True),
        Case("AgentBudgetSpent", [budget(SPENT, "49x60"), budget(LIMIT, "50x60")], fires=False),
        Case("AgentBudgetSpent", [budget(LIMIT, "50x60")], fires=False),
        Case("AgentBudgetUnpricedCalls", [budget(UNPRICED, "0+1x60")], fires=True),
        Case("AgentBudgetUnpricedCalls", [budget(UNPRICED, "0x40 1x60")], False, 60),
        Case(
            "AgentBudgetWithoutPrice", [budget("tocsin_budget_without_price", "1x60")], fires=True
        ),
        Case(
            "AgentBudgetWithoutPrice", [budget("tocsin_budget_without_price", "0x60")], fires=False
        ),
    ]
    + [
        Case(
            "AgentBudgetRunsOut",
            [
                budget(FORECAST, f"{forecast}x60", estimate),
                budget(SPENT, f"{spent}x60"),
                budget(LIMIT, "50x60"),
            ],
            fires,
        )
        for forecast, spent, estimate, fires in (
            (60, 20, PACE, True),
            (40, 20, PACE, False),
            (60, 5, PACE, False),
            (60, 55, PACE, False),  # it has run out, as another rule says
            (60, 20, YESTERDAY, False),
        )
    ]
)


def unit_test(case: Case) -> dict[str, Any]:
    firing = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series],
        "promql_expr_test": [
            {
                "expr": f"count({firing}) or vector(0)",
                "eval_time": f"{case.at_m}m",
                "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
            }
        ],
    }


def test_rules_fire_when_they_should_and_not_otherwise(
    require_program: Callable[[str], str], tmp_path: Path
) -> None:
    """All cases in one call: starting the tool takes longer than judging them."""
    cases = tmp_path / "cases.yml"
    tests = [unit_test(case) for case in CASES]
    cases.write_text(yaml.safe_dump({"rule_files": [str(PACK)], "tests": tests}))
    check = [require_program("promtool"), "test", "rules", str(cases)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr + done.stdout


def test_every_rule_has_a_case_for_and_one_against() -> None:
    judged = {(case.alert, case.fires) for case in CASES}
    assert judged == {(rule["alert"], fires) for rule in RULES for fires in (True, False)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_says_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert {"summary", "description"} == set(rule["annotations"])
    assert rule["labels"]["severity"] in ("warning", "critical")
