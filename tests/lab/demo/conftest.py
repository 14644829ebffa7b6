from collections.abc import Callable

import pytest

from tocsin.lab.demo.figures import Snapshot
from tocsin.lab.demo.table import Status
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Registry


@pytest.fixture
def registry() -> Registry:
    """Ten runs of "w": seven fine, two failed, one at a guardrail; two models, one unpriced."""
    registry = Registry()
    for outcome, runs in {
        "ok": 7,
        "error": 1,
        "max_turns": 1,
        "guardrail": 1,
        "unknown": 0,
    }.items():
        registry.add(m.RUNS, ("w", outcome), runs)
    for seconds in (0.2, 0.2, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 4.0, 4.0):
        registry.observe(m.RUN_DURATION, ("w",), seconds)
    registry.add(m.GUARDRAIL_CHECKS, ("abuse", "w"), 8)
    registry.add(m.GUARDRAIL_TRIGGERED, ("abuse", "w"), 1)
    registry.add(m.TOKENS, ("gpt", "input", "w"), 8000)
    registry.add(m.TOKENS, ("gpt", "output", "w"), 123)
    registry.add(m.TOKENS, ("acme", "input", "w"), 500)
    registry.add(m.UNPRICED_TOKENS, ("acme", "w"), 500)
    registry.add(m.COST, ("gpt", "w", "input"), 0.03)
    registry.add(m.COST, ("gpt", "w", "output"), 0.005)
    registry.add(m.LLM_CALLS, ("openai", "gpt", "w"), 20)
    registry.add(m.LLM_CALLS, ("unknown", "acme", "w"), 5)
    registry.add(m.LLM_ERRORS, ("openai", "gpt", "w", "rate_limit"), 2)
    registry.add(m.LLM_ERRORS, ("openai", "gpt", "w", "cancelled"), 3)
    registry.add(m.SLA_BREACHES, ("w", "tokens", "alert"), 3)
    registry.set(m.ACTIVE_RUNS, ("w",), 2)
    registry.set(m.OLDEST_RUN, ("w",), 990.0)
    return registry


@pytest.fixture
def now(registry: Registry) -> Snapshot:
    return Snapshot(registry.collect())


@pytest.fixture
def status() -> Callable[..., Status]:
    def make(*workflows: str) -> Status:
        return Status(
            workflows=workflows, title="t", elapsed_s=75.0, wall_s=1000.0, note="the note"
        )

    return make
