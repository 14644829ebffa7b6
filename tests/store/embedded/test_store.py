import threading
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.store_rows import DAY, HOUR, START, make_call, make_run, make_span
from tocsin.errors import QueryError
from tocsin.model.run import Outcome
from tocsin.model.span import Cost, ErrorClass, Kind, Span, Usage
from tocsin.store.base import (
    FAILED,
    NO_RUN,
    Batch,
    GroupBy,
    RunOrder,
    RunQuery,
    StoredSpan,
    Window,
)
from tocsin.store.embedded.store import EmbeddedStore
from tocsin.store.redaction import Redactor

USD = st.decimals(Decimal(0), Decimal(1000), places=12)
COUNTS = st.integers(0, 1 << 40)
# Whatever JSON or protobuf can carry, lone surrogates and NUL included.
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
NS = st.integers(0, 1 << 62)
STORED = st.builds(
    StoredSpan,
    span=st.builds(
        Span,
        trace_id=st.just("trace-0"),
        span_id=st.uuids().map(str),
        parent_id=st.none() | TEXT,
        kind=st.sampled_from(Kind),
        name=TEXT,
        started_ns=NS,
        ended_ns=NS,
        error=st.none() | st.sampled_from(ErrorClass),
        outcome=st.none() | st.sampled_from(Outcome),
        usage=st.none() | st.builds(Usage, *[COUNTS] * 5),
        calls=COUNTS,
        reported_cost_usd=st.none() | USD,
        is_retry=st.booleans(),
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
        first_token_s=st.none() | st.floats(0, 1e9),
        arguments=st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
        triggered=st.booleans(),
        **{
            name: st.none() | TEXT
            for name in (
                *("model", "response_model", "provider", "endpoint", "service_tier", "agent"),
                *("response_id", "finish_reason", "workflow", "conversation_id", "service"),
                *("environment", "from_agent", "to_agent"),
            )
        },
    ),
    workflow=TEXT,
    run_id=st.none() | st.just("run-0"),
    provider=st.none() | TEXT,
    cost=st.none() | st.builds(Cost, *[USD] * 4),
    retry=st.booleans(),
)


def texts(stored: StoredSpan) -> str:
    """Return all text of a span in one."""
    fields = (getattr(stored.span, name) for name in Span.__struct_fields__)
    attributes = stored.span.attributes
    names = (stored.workflow, stored.provider, *attributes, *attributes.values())
    return "".join(map(str, (*fields, *names)))


def has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


@settings(suppress_health_check=list(HealthCheck), max_examples=50)
@given(batch=st.lists(STORED, max_size=5, unique_by=lambda stored: stored.span.span_id))
def test_gives_back_what_it_was_given(
    batch: list[StoredSpan], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = EmbeddedStore(tmp_path_factory.mktemp("data") / "data", retention_days=None)
    try:
        store.commit(Batch(spans=batch))
        found = {stored.span.span_id: stored for stored in store.unfinished(0)}
    finally:
        store.close()
    assert {stored.span.span_id for stored in batch} == set(found)
    for stored in batch:
        if not has_surrogates(texts(stored)):
            assert stored == found[stored.span.span_id]


def test_what_no_program_reports_does_not_stop_a_batch(store: EmbeddedStore) -> None:
    absurd = Cost(Decimal("1e30"), Decimal("NaN"), Decimal(0), Decimal(0))
    span = make_call(
        1,
        cost=absurd,
        usage=Usage(1 << 70, -5),
        reported_cost_usd=Decimal("Infinity"),
        arguments=(1 << 64) - 1,
        ended_ns=1 << 80,
        calls=-1,
    )
    store.commit(Batch(spans=[span, make_span(2)], runs=[make_run(cost_usd=Decimal("1e30"))]))
    found = store.run("run-0")
    assert found is not None
    assert [None, None] == [stored.cost for stored in found.spans]
    assert -1 == found.spans[0].span.arguments or -1 == found.spans[1].span.arguments


def test_position_moves_with_the_batch(store: EmbeddedStore) -> None:
    assert 0 == store.position()
    assert store.commit(Batch(spans=[make_span()], position=7))
    assert 7 == store.position()
    assert store.commit(Batch(runs=[make_run()]))
    assert 7 == store.position()


def test_a_batch_is_stored_once(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_span(1)], position=7))
    assert not store.commit(Batch(spans=[make_span(2)], position=7))
    assert ["span-1"] == [stored.span.span_id for stored in store.unfinished(0)]


def test_a_span_is_stored_once(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_span(1), make_span(1)]))
    store.commit(Batch(spans=[make_span(1), make_span(2)]))
    assert 2 == len(store.unfinished(0))


def test_spans_that_began_at_the_same_time_are_all_stored(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_span(1)]))
    store.commit(Batch(spans=[make_span(2)]))
    assert 2 == len(store.unfinished(0))


def test_survives_closing(data: Path) -> None:
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[make_span()], runs=[make_run(outcome=None)], position=3))
    store.close()
    store = EmbeddedStore(data)
    assert (3, 1) == (store.position(), len(store.unfinished(0)))
    store.close()


def test_runs_are_amended(store: EmbeddedStore) -> None:
    store.commit(Batch(runs=[make_run(outcome=None, ended_ns=None)]))
    amended = make_run(outcome=Outcome.ERROR, input_tokens=9, service="shop")
    store.commit(Batch(runs=[make_run(), amended]))
    assert [amended] == store.runs(RunQuery()).runs


def test_a_run_with_its_spans_in_order(store: EmbeddedStore) -> None:
    spans = [make_span(i, at=at) for i, at in enumerate([5, 0, 9])]
    store.commit(Batch(spans=[*spans, make_span(9, run=1)], runs=[make_run()]))
    found = store.run("run-0")
    assert found is not None
    assert ["span-1", "span-0", "span-2"] == [stored.span.span_id for stored in found.spans]
    assert store.run("run-1") is None


def test_a_run_has_the_spans_that_were_stored_before_it_was_known(store: EmbeddedStore) -> None:
    early = [make_span(1, run=None, trace_id="trace-0", parent_id="span-0")]
    store.commit(Batch(spans=[*early, make_span(8, run=None, trace_id="trace-0")]))
    assert 2 == len(store.unfinished(0))

    root = make_span(0, at=5)
    beside = make_span(9, run=1, trace_id="trace-0")
    runs = [make_run(), make_run(1, trace_id="trace-0")]
    store.commit(Batch(spans=[root, beside], runs=runs))
    found = store.run("run-0")
    assert found is not None
    assert {"span-0", "span-1"} == {stored.span.span_id for stored in found.spans}
    assert [] == store.unfinished(0)


def test_spans_of_no_run_are_not_unfinished(store: EmbeddedStore) -> None:
    span = msgspec.structs.replace(make_span(1, run=None), run_id=NO_RUN)
    store.commit(Batch(spans=[span]))
    assert [] == store.unfinished(0)


def test_a_run_keeps_late_spans_from_long_after(store: EmbeddedStore) -> None:
    store.commit(Batch(spans=[make_span(1)], runs=[make_run()]))
    store.commit(Batch(spans=[make_span(2, at=5 * HOUR)], runs=[make_run()]))
    store.commit(Batch(runs=[make_run(tool_calls=2)]))
    found = store.run("run-0")
    assert found is not None
    assert 2 == len(found.spans)


def test_unfinished_leaves_out_finished_runs(store: EmbeddedStore) -> None:
    spans = [make_span(i, run=i, at=i) for i in range(4)]
    loose = [make_span(9, run=None, trace_id="trace-1"), make_span(8, run=None, trace_id="lost")]
    finished, ongoing = make_run(1, at=1), make_run(2, outcome=None)
    store.commit(Batch(spans=[*spans, *loose], runs=[finished, ongoing]))
    names = {stored.span.span_id for stored in store.unfinished(START)}
    assert {"span-0", "span-2", "span-3", "span-8"} == names
    assert {"span-3"} == {stored.span.span_id for stored in store.unfinished(START + 3)}


@pytest.mark.parametrize("order", RunOrder)
def test_pages_hold_every_run_once_in_order(store: EmbeddedStore, order: RunOrder) -> None:
    runs = [
        make_run(i, at=i % 3, took=i % 4, cost_usd=Decimal(i % 5), input_tokens=i % 2)
        for i in range(20)
    ]
    store.commit(Batch(runs=runs))
    keys = {
        RunOrder.NEWEST: lambda run: run.started_ns,
        RunOrder.SLOWEST: lambda run: run.ended_ns - run.started_ns,
        RunOrder.COSTLIEST: lambda run: run.cost_usd,
        RunOrder.MOST_TOKENS: lambda run: run.total_tokens,
    }
    found, cursor = [], None
    while True:
        page = store.runs(RunQuery(order=order, limit=3, cursor=cursor))
        found += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
    expected = sorted(
        runs, key=lambda stored: (keys[order](stored.run), stored.run.run_id), reverse=True
    )
    assert expected == found


def test_runs_are_filtered(store: EmbeddedStore) -> None:
    runs = [
        make_run(0, outcome=Outcome.ERROR, workflow="sales", service="shop", environment="test"),
        make_run(1, at=5, took=9_000_000_000, cost_usd=Decimal(2), conversation_id="c"),
        make_run(2, outcome=None, ended_ns=None),
    ]
    store.commit(Batch(runs=runs))
    queries = {
        RunQuery(workflow="sales"): {"run-0"},
        RunQuery(service="shop", environment="test"): {"run-0"},
        RunQuery(outcomes=FAILED): {"run-0"},
        RunQuery(outcomes=frozenset()): set(),
        RunQuery(min_duration_s=5): {"run-1"},
        RunQuery(min_cost_usd=Decimal("1.5")): {"run-1"},
        RunQuery(conversation_id="c"): {"run-1"},
        RunQuery(start_ns=START + 1): {"run-1"},
        RunQuery(end_ns=START + 1): {"run-0", "run-2"},
    }
    for query, expected in queries.items():
        assert expected == {stored.run.run_id for stored in store.runs(query).runs}, query


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (RunQuery(limit=0), "between 1 and 1000"),
        (RunQuery(cursor="%%%"), "damaged"),
        (RunQuery(cursor="WyJzbG93ZXN0IiwiMSIsInIiXQ"), "ordered by slowest, not newest"),
        (RunQuery(cursor="WyJuZXdlc3QiLCJ4IiwiciJd"), "damaged"),
    ],
)
def test_says_what_is_wrong_with_a_query(
    store: EmbeddedStore, query: RunQuery, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        store.runs(query)


def test_a_conversation_adds_up(store: EmbeddedStore) -> None:
    runs = [
        make_run(i, at=i, conversation_id="c", input_tokens=5, cost_usd=Decimal(i), priced_calls=i)
        for i in range(3)
    ]
    store.commit(Batch(runs=[*reversed(runs), make_run(9)]))
    found = store.conversation("c", limit=2)
    assert found is not None
    assert runs[:2] == found.runs
    assert (3, 15, Decimal(3)) == (found.run_count, found.total_tokens, found.cost_usd)
    assert store.conversation("other") is None


def test_content_stays_out_unless_switched_on(data: Path) -> None:
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[make_span(content={"input": "the-secret-plan"})]))
    store.seal(START + DAY)
    store.close()
    assert not any(
        b"secret-plan" in path.read_bytes() for path in data.rglob("*") if path.is_file()
    )
    store = EmbeddedStore(data, content=Redactor())
    store.commit(Batch(spans=[make_span(1, content={"input": "mail bob@example.com"})]))
    contents = [stored.content for stored in store.unfinished(0)]
    store.close()
    assert [{}, {"input": "mail [redacted]"}] == contents


def test_reads_while_it_writes_and_seals(store: EmbeddedStore) -> None:
    """Whatever moment a reader sees, it is one between two commits."""
    done = threading.Event()
    problems: list[object] = []
    window = Window(start_ns=START, end_ns=START + 9 * DAY)

    def read() -> None:
        while not done.is_set():
            try:
                rows = store.usage(GroupBy.WORKFLOW, window)
                problems.extend(row for row in rows if row.calls % 10)
                store.runs(RunQuery())
                store.run("run-1")
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for day in range(6):
        for hour in range(4):
            at = day * DAY + hour * HOUR
            number = day * 100 + hour * 10
            spans = [make_call(number + i, run=day, at=at + i) for i in range(10)]
            store.commit(Batch(spans=spans, runs=[make_run(day, at=at)]))
        store.seal(START + day * DAY + 5 * HOUR)
    done.set()
    for reader in readers:
        reader.join()
    assert [] == problems


@pytest.mark.slow
def test_the_log_stays_small_while_someone_always_reads(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.store.embedded.database.CHECKPOINT_AT_MB", 1)
    store = EmbeddedStore(data)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            store.unfinished(START)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    largest = 0
    for number in range(30):
        first = number * 500
        spans = [make_call(i, run=i, at=i) for i in range(first, first + 500)]
        runs = [make_run(i, at=i) for i in range(first, first + 500)]
        store.commit(Batch(spans=spans, runs=runs))
        log = data / "tocsin.duckdb.wal"
        largest = max(largest, log.stat().st_size if log.exists() else 0)
    done.set()
    for reader in readers:
        reader.join()
    store.close()
    assert 500_000 < largest < 2_500_000
