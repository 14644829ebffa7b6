import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.slow_store import SlowStore
from tests.fakes.store_rows import DAY, HOUR, START, make_call, make_run, make_span
from tocsin.errors import QueryError
from tocsin.model.run import Outcome
from tocsin.model.span import Cost, ErrorClass, Kind, Usage
from tocsin.store.base import Batch, GroupBy, Latency, Scope, StoredRun, StoredSpan, Window
from tocsin.store.embedded import writer
from tocsin.store.embedded.store import EmbeddedStore

DAYS = 4
NAMES = st.sampled_from(["a", "b", None])
TIMES = st.integers(0, DAYS * DAY - 1) | st.sampled_from([0, HOUR, DAY, 2 * DAY - 1])
COSTS = st.builds(
    Cost,
    *[st.decimals(Decimal(0), Decimal(10), places=9, allow_nan=False)] * 4,
)


@st.composite
def spans(draw: st.DrawFn) -> StoredSpan:
    kind = draw(st.sampled_from([Kind.LLM, Kind.EMBEDDING, Kind.TOOL, Kind.AGENT, Kind.STEP]))
    at = draw(TIMES)
    usage = st.builds(Usage, *[st.integers(0, 10**6)] * 5)
    is_call = kind in (Kind.LLM, Kind.EMBEDDING)
    return make_span(
        draw(st.integers(0, 10**9)),
        at=at,
        kind=kind,
        name=draw(st.sampled_from(["x", "y"])),
        in_workflow=draw(st.sampled_from(["support", "sales"])),
        ended_ns=START + at + draw(st.integers(-5, 10**12)),
        error=draw(st.none() | st.sampled_from(ErrorClass)),
        model=draw(NAMES) if is_call else None,
        usage=draw(st.none() | usage) if is_call else None,
        cost=draw(st.none() | COSTS) if is_call else None,
        calls=draw(st.integers(0, 3)),
        agent=draw(NAMES),
        service=draw(NAMES),
        environment=draw(NAMES),
    )


@st.composite
def runs(draw: st.DrawFn) -> StoredRun:
    return make_run(
        draw(st.integers(0, 20)),
        at=draw(TIMES),
        took=draw(st.integers(0, 10**12)),
        workflow=draw(st.sampled_from(["support", "sales"])),
        outcome=draw(st.none() | st.sampled_from(Outcome)),
        service=draw(NAMES),
    )


BATCHES = st.builds(Batch, spans=st.lists(spans(), max_size=8), runs=st.lists(runs(), max_size=4))
SEALS = st.integers(0, DAYS + 1).map(lambda day: START + day * DAY + HOUR)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = START + draw(TIMES)
    length = draw(st.sampled_from([HOUR // 3, HOUR, 5 * HOUR, DAY, 3 * DAY + 7]))
    steps = [None, HOUR, 5 * HOUR, DAY, *([HOUR // 4] if length <= DAY else [])]
    return Window(start_ns=start, end_ns=start + length, step_ns=draw(st.sampled_from(steps)))


def scopes(by: GroupBy) -> st.SearchStrategy[Scope]:
    kinds = {GroupBy.MODEL: "model", GroupBy.TOOL: "tool", GroupBy.AGENT: "agent"}
    names = {"workflow": st.sampled_from(["support", None]), "service": NAMES}
    if by is not GroupBy.WORKFLOW:
        names |= {"environment": NAMES, kinds[by]: st.sampled_from(["a", "x", None])}
    return st.fixed_dictionaries(names).map(lambda values: Scope(**values))


@contextmanager
def new_store() -> Iterator[EmbeddedStore]:
    with TemporaryDirectory() as directory:
        store = EmbeddedStore(Path(directory), retention_days=None)
        try:
            yield store
        finally:
            store.close()


def agree(store: EmbeddedStore, slow: SlowStore, window: Window, data: st.DataObject) -> None:
    for by in GroupBy:
        scope = data.draw(scopes(by))
        errors = sorted(store.errors(by, window, scope), key=lambda row: (row.group, row.at_ns))
        assert slow.errors(by, window, scope) == errors
        near(slow.durations(by, window, scope), store.latency(by, window, scope))
        if by is not GroupBy.TOOL:
            scope = Scope(workflow=scope.workflow, model=scope.model, agent=scope.agent)
            usage = sorted(store.usage(by, window, scope), key=lambda row: (row.group, row.at_ns))
            assert slow.usage(by, window, scope) == usage


def near(durations: dict[tuple[str, int], list[float]], found: list[Latency]) -> None:
    """Compare exact durations with percentiles that may be off by as much as is promised."""
    assert {key: len(values) for key, values in durations.items()} == {
        (row.group, row.at_ns): row.count for row in found
    }
    for row in found:
        values = durations[row.group, row.at_ns]
        for percent, value in ((50, row.p50_s), (95, row.p95_s), (99, row.p99_s)):
            exact = max(values[math.ceil(len(values) * percent / 100) - 1], 1e-6)
            assert value == pytest.approx(exact, rel=0.0251)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(BATCHES | SEALS, max_size=8), window=windows(), data=st.data())
def test_agrees_with_the_obvious_way(
    steps: list[Batch | int], window: Window, data: st.DataObject
) -> None:
    slow = SlowStore()
    with new_store() as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ROLL_UP_EVERY", 6)
        for step in steps:
            if isinstance(step, Batch):
                store.commit(step)
                slow.commit(step)
            else:
                store.seal(step)
        agree(store, slow, window, data)


WEEK = Window(start_ns=START, end_ns=START + 7 * DAY, step_ns=DAY)


def test_what_is_unknown_is_not_zero(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_call(1, cost=None), make_call(2, usage=None, cost=None)]))
    [usage] = store.usage(GroupBy.MODEL, WEEK)
    assert (None, 1, 1) == (usage.cost_usd, usage.unpriced, usage.usage_missing)


def test_money_is_exact(store: EmbeddedStore) -> None:
    tenth = Cost(Decimal("0.1"), Decimal(0), Decimal(0), Decimal(0))
    store.commit(Batch(spans=[make_call(i, cost=tenth) for i in range(3)]))
    assert [Decimal("0.3")] == [row.cost_usd for row in store.usage(GroupBy.WORKFLOW, WEEK)]


def test_a_rollup_span_beside_its_run_counts(store: EmbeddedStore) -> None:
    root = make_span(1, kind=Kind.RUN, usage=Usage(7, 3), calls=0)
    store.commit(Batch(spans=[root, make_call(1, calls=0)]))
    [usage] = store.usage(GroupBy.WORKFLOW, WEEK)
    assert (0, 7, 3) == (usage.calls, usage.input_tokens, usage.output_tokens)


def test_error_rate_leaves_out_cancelled_calls(store: EmbeddedStore) -> None:
    classes = [ErrorClass.TIMEOUT, ErrorClass.CANCELLED, None, None]
    store.commit(Batch(spans=[make_span(i, error=error) for i, error in enumerate(classes)]))
    [errors] = store.errors(GroupBy.TOOL, WEEK)
    assert 0.25 == errors.rate
    assert {"timeout": 1, "cancelled": 1} == errors.classes


@pytest.mark.parametrize(
    ("by", "window", "scope", "message"),
    [
        (GroupBy.MODEL, Window(start_ns=5, end_ns=5), Scope(), "empty"),
        (GroupBy.MODEL, Window(start_ns=0, end_ns=DAY, step_ns=1), Scope(), "2000 steps"),
        (GroupBy.MODEL, Window(start_ns=0, end_ns=2 * DAY, step_ns=HOUR // 2), Scope(), "whole h"),
        (GroupBy.WORKFLOW, WEEK, Scope(model="gpt"), "no model to go by"),
        (GroupBy.AGENT, WEEK, Scope(tool="search"), "no tool to go by"),
    ],
)
def test_says_what_it_cannot_answer(
    store: EmbeddedStore, by: GroupBy, window: Window, scope: Scope, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        store.latency(by, window, scope)


def test_tools_use_no_tokens(store: EmbeddedStore) -> None:
    with pytest.raises(QueryError, match="by workflow, model or agent"):
        store.usage(GroupBy.TOOL, WEEK)


def test_names_that_never_repeat_do_not_fill_the_memory(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.store.embedded.labels.MAX_LABELS", 3)
    store.commit(Batch(spans=[make_span(i, name=f"tool-{i}") for i in range(9)]))
    counts = {row.group: row.total for row in store.errors(GroupBy.TOOL, WEEK)}
    assert {"_other": 6, "tool-0": 1, "tool-1": 1, "tool-2": 1} == counts
