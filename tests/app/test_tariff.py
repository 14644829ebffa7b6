import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.app.tariff import MAX_MODELS, Tariff
from tocsin.model.span import Kind, Span, Usage
from tocsin.pricing.catalogue import PriceBook

OWN = {"tiny": {"input": 1, "output": 2, "cache_read": 0.1, "reasoning": 8}}
MODELS = ("gpt-4.1", "gpt-4o-mini", "o3", "claude-sonnet-4-5", "gemini-2.5-pro", "tiny", "nobody's")
COUNTS = st.integers(0, 400_000)


def span(model: str, usage: Usage) -> Span:
    return Span(
        trace_id="",
        span_id="",
        parent_id=None,
        kind=Kind.LLM,
        name="",
        started_ns=time.time_ns(),
        ended_ns=time.time_ns(),
        model=model,
        usage=usage,
    )


@given(st.sampled_from(MODELS), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_agrees_with_what_metrics_show(
    model: str, read: int, written: int, cached: int, stored: int, reasoning: int
) -> None:
    usage = Usage(read, written, min(cached, read), min(stored, read), min(reasoning, written))
    cost = PriceBook(OWN).cost(span(model, usage))

    assert (None if cost is None else cost.total) == Tariff(PriceBook(OWN)).price(model, usage)


@given(st.sampled_from(MODELS), COUNTS, COUNTS)
def test_a_call_to_come_costs_what_it_would_without_a_cache(
    model: str, read: int, written: int
) -> None:
    tariff = Tariff(PriceBook(OWN))

    assert tariff.price(model, Usage(read, written)) == tariff.cost_usd(model, read, written)


def test_models_remembered_are_bounded() -> None:
    tariff = Tariff(PriceBook())
    for number in range(MAX_MODELS + 10):
        tariff.cost_usd(f"unknown-{number}", 1, 1)

    assert len(tariff._known) <= MAX_MODELS


def test_a_lock_that_was_held_at_a_fork_is_free_in_the_child() -> None:
    tariff = Tariff(PriceBook())
    tariff._lock.acquire()
    tariff.reset_after_fork()
    found: list[Decimal | None] = []

    thread = threading.Thread(target=lambda: found.append(tariff.cost_usd("gpt-4.1", 1, 0)))
    thread.start()
    thread.join(5)

    assert [Decimal("0.000002")] == found


def test_prices_that_change_are_seen_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tariff, now = Tariff(PriceBook(OWN)), [100.0]
    monkeypatch.setattr("tocsin.app.tariff.time.monotonic", lambda: now[0])
    assert Decimal("0.000001") == tariff.cost_usd("tiny", 1, 0)
    tariff._prices.override({"tiny": {"input": 5, "output": 5}})
    assert Decimal("0.000001") == tariff.cost_usd("tiny", 1, 0)
    now[0] += 31

    assert Decimal("0.000005") == tariff.cost_usd("tiny", 1, 0)
