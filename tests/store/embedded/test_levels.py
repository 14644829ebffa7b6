"""Which runs kept to a level, and of which nobody can say."""

from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS, NS
from tests.fakes.stored import stored_call, stored_run
from tocsin.model.run import Outcome
from tocsin.store.base import Batch
from tocsin.store.embedded.store import EmbeddedStore
from tocsin.store.level_counts import LevelQuery

HOUR = 3600
LIMITS = {"latency": 15, "tokens": 100, "cost": 0.5, "turns": 3, "first_token": 2}


def asked(store: EmbeddedStore, *hours: float, **fields: Any) -> list[Any]:
    starts = tuple(NOON_NS - int(hour * HOUR * NS) for hour in hours or (24,))
    query = LevelQuery(
        **({"limits": LIMITS} | fields), starts_ns=starts, end_ns=NOON_NS + HOUR * NS
    )
    return store.count_levels(query)


def states(store: EmbeddedStore, limit: str, **fields: Any) -> tuple[int, int, int]:
    (found,) = [count for count in asked(store, **fields) if count.limit == limit]
    return found.within, found.beyond, found.unknown


RUNS = [
    # limit, run, (within, beyond, unknown)
    ("success", {"outcome": Outcome.OK}, (1, 0, 0)),
    ("success", {"outcome": Outcome.GUARDRAIL}, (1, 0, 0)),
    ("success", {"outcome": Outcome.ERROR}, (0, 1, 0)),
    ("success", {"outcome": Outcome.MAX_TURNS}, (0, 1, 0)),
    ("success", {"outcome": Outcome.STOPPED}, (0, 1, 0)),
    ("success", {"outcome": Outcome.CANCELLED}, (0, 0, 1)),
    ("success", {"outcome": Outcome.UNKNOWN}, (0, 0, 1)),
    ("latency", {"lasts_s": 15}, (1, 0, 0)),
    ("latency", {"lasts_s": 15.001}, (0, 1, 0)),
    ("latency", {"lasts_s": 9, "outcome": Outcome.ERROR}, (1, 0, 0)),
    ("latency", {"lasts_s": 9, "outcome": Outcome.UNKNOWN}, (0, 0, 1)),
    ("latency", {"lasts_s": 16, "outcome": Outcome.UNKNOWN}, (0, 1, 0)),
    ("tokens", {"input_tokens": 90, "output_tokens": 10}, (1, 0, 0)),
    ("tokens", {"input_tokens": 90, "output_tokens": 11}, (0, 1, 0)),
    ("tokens", {"input_tokens": 90, "usage_missing": 1}, (0, 0, 1)),
    ("tokens", {"input_tokens": 101, "usage_missing": 1}, (0, 1, 0)),
    ("cost", {"cost_usd": Decimal("0.5"), "priced_calls": 1}, (1, 0, 0)),
    ("cost", {"cost_usd": Decimal("0.501"), "priced_calls": 1}, (0, 1, 0)),
    ("cost", {"unpriced_calls": 1}, (0, 0, 1)),
    ("cost", {"usage_missing": 1}, (0, 0, 1)),
    ("turns", {"turns": 3}, (1, 0, 0)),
    ("turns", {"turns": 4}, (0, 1, 0)),
    ("first_token", {}, (0, 0, 1)),
]


@pytest.mark.parametrize(("limit", "run", "expected"), RUNS)
def test_a_run(
    store: EmbeddedStore, limit: str, run: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    store.commit(Batch(runs=[stored_run("r", **run)]))
    assert expected == states(store, limit)


CALLS = [
    # seconds to the first token of each call, (within, beyond, unknown)
    ([0.5, 2.0], (1, 0, 0)),
    ([0.5, 2.1], (0, 1, 0)),
    ([0.5, None], (1, 0, 0)),
    ([None], (0, 0, 1)),
]


@pytest.mark.parametrize("run_id", ["r", None])
@pytest.mark.parametrize(("firsts", "expected"), CALLS)
def test_the_slowest_first_token_of_a_run(
    store: EmbeddedStore,
    firsts: list[float | None],
    expected: tuple[int, int, int],
    run_id: str | None,
) -> None:
    """run_id None: the calls were stored before anyone knew their run."""
    calls = [stored_call("r", f"c{n}", first_token_s=first) for n, first in enumerate(firsts)]
    spans = [type(call)(**{**fields_of(call), "run_id": run_id}) for call in calls]
    store.commit(Batch(spans=spans, runs=[stored_run("r"), stored_run("other", trace_id="u")]))
    within, beyond, unknown = states(store, "first_token")
    assert expected == (within, beyond, unknown - 1)


def fields_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def test_windows_begin_apart_and_end_together(store: EmbeddedStore) -> None:
    runs = [
        stored_run("now", at_s=0),
        stored_run("long", at_s=-2 * HOUR, lasts_s=1.5 * HOUR),
        stored_run("before", at_s=-5 * HOUR),
        stored_run("too old", at_s=-25 * HOUR),
        stored_run("to come", at_s=2 * HOUR),
        stored_run("goes on", at_s=0, outcome=None),
    ]
    store.commit(Batch(runs=runs))
    counts = [c for c in asked(store, 1, 24, limits={"latency": 60}) if c.limit == "latency"]
    assert [(1, 1), (2, 1)] == [(count.within, count.beyond) for count in counts]
    hours = [(NOON_NS - count.start_ns) // (HOUR * NS) for count in counts]
    assert [1, 24] == hours


def test_workflows_apart(store: EmbeddedStore) -> None:
    runs = [stored_run(f"{n}{w}", workflow=w) for w, times in (("a", 1), ("b", 3), ("c", 2))
            for n in range(times)]  # fmt: skip
    store.commit(Batch(runs=runs))
    limits = {"limits": {"turns": 3}}
    own = [count.workflow for count in asked(store, workflow="a", **limits)]
    others = [c.workflow for c in asked(store, others=frozenset("a"), **limits)]
    none = asked(store, workflow="no such", **limits)
    assert (["a"] * 2, ["b"] * 2 + ["c"] * 2, []) == (own, others, none)


def test_sealed_days_count_too(store: EmbeddedStore) -> None:
    call = stored_call("r", "c", first_token_s=3.0)
    store.commit(Batch(spans=[call], runs=[stored_run("r")]))
    store.seal(NOON_NS + 30 * HOUR * NS)
    assert (0, 1, 0) == states(store, "first_token")
