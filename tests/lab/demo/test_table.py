# ruff: noqa: RUF001 - the dash is what is tested
import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from tocsin.lab.demo.figures import Snapshot
from tocsin.lab.demo.summary import summary
from tocsin.lab.demo.table import Status, live_view
from tocsin.lab.fleet.arrivals import MIX
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Registry


def shown(picture: RenderableType, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(picture)
    return [line.rstrip() for line in capture.get().splitlines()]


def row(lines: list[str], first: str) -> list[str]:
    return next(line for line in lines if line.startswith(first)).split()


def test_row_of_a_workflow(now: Snapshot, status: Callable[..., Status]) -> None:
    lines = shown(live_view(now, status("w"), width=100))

    expected = "w 10 1.5 s 4.2 s 20.0 % 12.5 % 8.6k $0.035+ 2 10.0 s"
    assert expected.split() == row(lines, "w ")


def test_row_of_a_workflow_without_runs(now: Snapshot, status: Callable[..., Status]) -> None:
    lines = shown(live_view(now, status("idle"), width=100))

    assert ["idle", "0", *"––––––", "0", "–"] == row(lines, "idle")


def test_says_what_concerns_all(now: Snapshot, status: Callable[..., Status]) -> None:
    lines = shown(live_view(now, status("w"), width=100))

    assert "LLM calls 25 · failed 8.0 % · first token p95 – · hand-offs 0" in lines
    assert "Tool calls 0 · failed – · repeated – · SLA breaches 3" in lines
    assert "Spent today – · without price 500 tokens (acme)" in lines
    assert "the note" == lines[-1]
    assert "Tocsin demo  01:15  t" in lines


@pytest.fixture
def crowded() -> Snapshot:
    """Every workflow with the widest numbers that a long demo shows."""
    registry = Registry()
    for workflow in MIX:
        registry.add(m.RUNS, (workflow, "ok"), 99_000)
        registry.add(m.RUNS, (workflow, "max_turns"), 12_300)
        for _ in range(9):
            registry.observe(m.RUN_DURATION, (workflow,), 29.9)
        registry.add(m.GUARDRAIL_CHECKS, ("g", workflow), 1000)
        registry.add(m.GUARDRAIL_TRIGGERED, ("g", workflow), 999)
        registry.add(m.TOKENS, ("gpt-4.1-mini", "input", workflow), 998_800)
        registry.add(m.USAGE_MISSING, ("gpt-4.1-mini", workflow), 1)
        registry.add(m.UNPRICED_TOKENS, ("acme-7b", workflow), 999_900)
        registry.add(m.COST, ("gpt-4.1-mini", workflow, "input"), 0.0088)
        registry.add(m.LLM_CALLS, ("openai", "gpt-4.1-mini", workflow), 999_900)
        registry.set(m.ACTIVE_RUNS, (workflow,), 200)
        registry.set(m.OLDEST_RUN, (workflow,), 980.0)
    return Snapshot(registry.collect())


@pytest.mark.parametrize("width", [80, 99, 100, 120])
def test_fits(crowded: Snapshot, status: Callable[..., Status], width: int) -> None:
    flows = status(*MIX)
    for picture in (live_view(crowded, flows, width=width), summary(crowded, flows, width=width)):
        lines = shown(picture, width)
        assert width >= max(map(len, lines))
        assert not [line for line in lines if "…" in line]
        assert not [line for line in lines if line.strip() in ("s", "%")]


def test_summary(now: Snapshot, status: Callable[..., Status]) -> None:
    lines = shown(summary(now, status("w"), width=80), 80)

    assert "Summary: 10 runs in 75.0 s" in lines
    counts = lines[lines.index(next(x for x in lines if x.startswith("Runs by outcome"))) + 2]
    assert ["w", "10", "7", "1", "1", "1", "0"] == counts.split()
    assert ["gpt", "20", "10.0", "%", "–", "–", "8.1k", "$0.035"] == row(lines, "gpt")
    assert ["acme", "5", "0", "%", "–", "–", "500", "–"] == row(lines, "acme")
    assert "SLA breaches: 3" in lines
    assert ["w", "tokens", "3"] == row(lines, "  w")
    assert any("tocsin.install(metrics_port=8001)" in line for line in lines)
