"""Measures the embedded store: writing, every kind of question, sealing, retention, disk, memory.

The spans of a week are generated inside the database, each day is sealed as it would be, and the
last one stays live. Asked for: every question under 100 ms at 10 million spans, a run under 20 ms.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path

import psutil

from tocsin.model.run import Outcome, Run
from tocsin.model.span import Cost, Kind, Span, Usage
from tocsin.store.base import (
    FAILED,
    Batch,
    GroupBy,
    RunOrder,
    RunQuery,
    Scope,
    StoredRun,
    StoredSpan,
    Window,
)
from tocsin.store.embedded.store import EmbeddedStore

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
DAYS = 7
SPANS_PER_RUN = 10
START = 20_400 * DAY
NOW = START + DAYS * DAY - HOUR // 2

# One run: itself, an agent, four LLM calls, three tools, a guardrail. A workflow has two models,
# six tools, three agents; durations are lognormal around what is usual for the model or tool.
SPANS = """
CREATE OR REPLACE TEMP TABLE staged AS
WITH dice AS (
    SELECT run, i, hash(run, i) AS h, hash(run) AS w, (hash(run) % 20)::BIGINT AS flow
    FROM range($first, $first + $runs) r(run), range(10) s(i)
), placed AS (
    SELECT *, 'workflow-' || flow AS workflow,
    'agent-' || (flow * 3 + (w >> 8) % 3) AS agent,
    CASE WHEN i BETWEEN 2 AND 5 THEN 'model-' || ((flow + h % 2) % 6) END AS model,
    'tool-' || ((flow * 6 + h % 6) % 30) AS tool,
    $start + ((run - $first) * ($length / $runs))::BIGINT AS run_ns,
    (exp(0.6 * sqrt(-2 * ln(((h >> 8) % 99991 + 1) / 99992.0))
        * cos(6.28318 * ((h >> 24) % 99991) / 99991.0) + (h % 6) / 3.0)
        * CASE WHEN i BETWEEN 6 AND 8 THEN 2e8 ELSE 1e9 END)::BIGINT AS took_ns FROM dice
)
SELECT $seq + row_number() OVER (ORDER BY run, i DESC) AS seq, md5(run::VARCHAR) AS trace_id,
    left(md5(run || '-' || i), 16) AS span_id,
    CASE i WHEN 0 THEN NULL WHEN 1 THEN left(md5(run || '-0'), 16)
        ELSE left(md5(run || '-1'), 16) END AS parent_id,
    left(md5(run || '-0'), 16) AS run_id,
    CASE WHEN i = 0 THEN 'run' WHEN i = 1 THEN 'agent' WHEN i < 6 THEN 'llm' WHEN i < 9 THEN 'tool'
        ELSE 'guardrail' END AS kind,
    CASE WHEN i = 0 THEN workflow WHEN i = 1 THEN agent WHEN i < 6 THEN 'generation'
        WHEN i < 9 THEN tool ELSE 'guard' END AS name,
    workflow,
    run_ns + CASE WHEN i < 2 THEN i * 1000 ELSE i * 1000000000 + (h % 500000000)::BIGINT END
        AS started_ns,
    started_ns + CASE WHEN i < 2 THEN 12000000000 + took_ns ELSE took_ns END AS ended_ns,
    CASE WHEN h % 53 = 0 AND i BETWEEN 2 AND 8 THEN
        CASE WHEN h % 2 = 0 THEN 'timeout' ELSE 'rate_limit' END END AS error,
    model, model || '-2026-10-01' AS response_model,
    CASE WHEN model IS NOT NULL THEN 'openai' END AS provider,
    CASE WHEN model IS NOT NULL AND error IS NULL THEN 200 + h % 4000 END AS input_tokens,
    CASE WHEN input_tokens IS NOT NULL THEN 20 + (h >> 4) % 800 END AS output_tokens,
    CASE WHEN input_tokens IS NOT NULL THEN input_tokens // 2 END AS cache_read_tokens,
    CASE WHEN input_tokens IS NOT NULL THEN 0 END AS cache_write_tokens,
    CASE WHEN input_tokens IS NOT NULL THEN output_tokens // 3 END AS reasoning_tokens,
    1 AS calls,
    CASE WHEN model IS NOT NULL THEN 'resp_' || md5(h::VARCHAR) END AS response_id,
    CASE WHEN model IS NOT NULL THEN 'stop' END AS finish_reason,
    (input_tokens * 0.00000125)::DECIMAL(18, 12) AS cost_input_usd,
    (output_tokens * 0.00001)::DECIMAL(18, 12) AS cost_output_usd,
    CASE WHEN input_tokens IS NOT NULL THEN 0 END AS cost_cache_read_usd,
    CASE WHEN input_tokens IS NOT NULL THEN 0 END AS cost_cache_write_usd,
    (cost_input_usd + cost_output_usd)::DECIMAL(18, 12) AS cost_usd,
    'conversation-' || (run // 3) AS conversation_id, agent,
    'service-' || (flow % 4) AS service, 'production' AS environment,
    false AS is_retry, false AS retry, false AS triggered,
    CASE WHEN model IS NOT NULL THEN 0.1 + (h % 900) / 1000.0 END AS first_token_s,
    CASE WHEN i BETWEEN 6 AND 8 THEN (h >> 2)::BIGINT END AS arguments,
    CASE WHEN model IS NOT NULL THEN MAP {'gen_ai.request.temperature': '0.7'} END AS attributes
FROM placed
"""
LABELS = """
INSERT INTO labels BY NAME
SELECT (SELECT coalesce(max(label), 0) FROM labels) + row_number() OVER () AS label, * FROM (
    SELECT DISTINCT kind, workflow, CASE WHEN kind IN ('tool', 'agent') THEN name END AS name,
    model, CASE WHEN kind <> 'run' THEN agent END AS agent, service, environment FROM staged
    WHERE kind IN ('llm', 'tool', 'agent', 'run')
    EXCEPT SELECT kind, workflow, name, model, agent, service, environment FROM labels)
"""
INSERT = """
INSERT INTO spans BY NAME
SELECT staged.*, labels.label FROM staged LEFT JOIN labels ON labels.kind = staged.kind
AND staged.kind <> 'run' AND labels.workflow = staged.workflow AND labels.agent = staged.agent
AND coalesce(labels.name, staged.name) = staged.name
AND labels.model IS NOT DISTINCT FROM staged.model
ORDER BY seq
"""
RUNS = """
INSERT INTO runs BY NAME
SELECT run_id, any_value(trace_id) AS trace_id, any_value(workflow) AS workflow,
    min(started_ns) AS started_ns, max(ended_ns) AS ended_ns,
    any_value(conversation_id) AS conversation_id,
    CASE WHEN hash(run_id) % 25 = 0 THEN 'error' WHEN hash(run_id) % 60 = 1 THEN 'max_turns'
        ELSE 'ok' END AS outcome,
    count(*) FILTER (kind = 'llm') AS llm_calls, coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(cost_usd), 0) AS cost_usd,
    count(cost_usd) AS priced_calls, 0 AS unpriced_calls, 0 AS usage_missing, 4 AS turns,
    3 AS tool_calls, 0 AS handoffs, any_value(service) AS service,
    'production' AS environment, min(started_ns) AS first_ns, max(ended_ns) AS last_ns,
    (SELECT label FROM labels WHERE kind = 'run' AND labels.workflow = any_value(staged.workflow))
        AS label
FROM staged GROUP BY run_id
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--directory", type=Path, help="default: a temporary one, deleted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary) / "data"
        store = EmbeddedStore(directory, retention_days=DAYS)
        fill(store, options.spans)
        report_size(directory, options.spans)
        slow = measure_questions(store, options.repeat, options.spans)
        measure_commits(store)
        slow += measure_questions(store, options.repeat, options.spans)
        measure_drop(store, directory)
        store.close()
    print(f"{slow} of the questions took longer than asked (p50)" if slow else "all as asked")
    return 0


def fill(store: EmbeddedStore, spans: int) -> None:
    runs = spans // SPANS_PER_RUN // DAYS
    for day in range(DAYS):
        seq = day * runs * SPANS_PER_RUN
        start = START + day * DAY
        values = {"first": day * runs, "runs": runs, "start": start, "length": DAY - HOUR}
        began = time.perf_counter()

        def insert(cursor, values=values, seq=seq):  # type: ignore[no-untyped-def]
            cursor.execute(SPANS, {**values, "seq": seq})
            cursor.execute(LABELS)
            cursor.execute(INSERT)
            cursor.execute(RUNS)
            cursor.execute("UPDATE state SET last_seq = (SELECT max(seq) FROM spans)")

        store._database.write(insert)
        generated = time.perf_counter() - began
        began = time.perf_counter()
        done = store.seal(start + HOUR)
        print(
            f"day {day}: {generated:.1f} s to generate; {done.spans:,} spans of the day before"
            f" sealed in {time.perf_counter() - began:.1f} s; RSS {rss_mb():,.0f} MB"
        )


def report_size(directory: Path, spans: int) -> None:
    sealed = sum(path.stat().st_size for path in (directory / "spans").iterdir())
    total = disk(directory)
    print(
        f"disk: {total / 1e6:,.0f} MB, {total / spans:.0f} B per span;"
        f" sealed files {sealed / 1e6:,.0f} MB, {sealed * DAYS / (DAYS - 1) / spans:.0f} B per span"
    )


def measure_questions(store: EmbeddedStore, repeat: int, spans: int) -> int:
    slow = 0
    print(f"{'question':58}{'p50 ms':>9}{'max ms':>9}{'asked':>7}")
    for name, limit_ms, ask in questions(store, spans):
        times = sorted(elapsed_ms(ask) for _ in range(repeat))
        p50 = statistics.median(times)
        mark = "" if p50 < limit_ms else "  over"
        slow += bool(mark)
        print(f"{name:58}{p50:9.1f}{times[-1]:9.1f}{limit_ms:7}{mark}")
    print(f"RSS {rss_mb():,.0f} MB")
    return slow


Question = tuple[str, int, Callable[[], object]]


def questions(store: EmbeddedStore, spans: int) -> Iterator[Question]:
    ago = {
        "5 m": (NOW - HOUR // 12, NOW, None),
        "1 h by minute": (NOW - HOUR, NOW, HOUR // 60),
        "6 h by 5 m": (NOW - 6 * HOUR, NOW, HOUR // 12),
        "24 h by 5 m": (NOW - 24 * HOUR, NOW, HOUR // 12),
        "24 h by hour": (NOW - 24 * HOUR, NOW, HOUR),
        "7 d by hour": (NOW - 7 * DAY, NOW, HOUR),
        "7 d by day": (NOW - 7 * DAY, NOW, DAY),
        "24 h sealed by 5 m": (START + DAY, START + 2 * DAY, HOUR // 12),
    }
    windows = {
        name: Window(start_ns=start, end_ns=end, step_ns=step)
        for name, (start, end, step) in ago.items()
    }
    for name, window in windows.items():
        for by in GroupBy:
            yield f"latency by {by}, {name}", 100, partial(store.latency, by, window)
    for name in ("5 m", "24 h by 5 m", "7 d by hour"):
        for by in GroupBy:
            yield f"errors by {by}, {name}", 100, partial(store.errors, by, windows[name])
            if by is not GroupBy.TOOL:
                yield f"usage by {by}, {name}", 100, partial(store.usage, by, windows[name])
    week, scope = windows["7 d by hour"], Scope(workflow="workflow-3")
    ask = partial(store.latency, GroupBy.MODEL, week, scope)
    yield "latency by model of one workflow, 7 d by hour", 100, ask
    for title, query in lists_of_runs(store):
        yield title, 100, partial(store.runs, query)
    dice = random.Random(8)
    runs = spans // SPANS_PER_RUN // DAYS * DAYS
    conversations = [f"conversation-{dice.randrange(runs // 3)}" for _ in range(1000)]
    yield "a conversation", 100, lambda: store.conversation(dice.choice(conversations))
    sealed = random_runs(store, START, START + 6 * DAY)
    yield "a run with its spans, of a sealed day", 20, lambda: store.run(dice.choice(sealed))
    live = random_runs(store, START + 6 * DAY, NOW)
    yield "a run with its spans, of today", 20, lambda: store.run(dice.choice(live))
    yield "a run that does not exist", 20, lambda: store.run("0" * 16)
    yield "unfinished spans of the last hour", 100, lambda: store.unfinished(NOW - HOUR)


def lists_of_runs(store: EmbeddedStore) -> Iterator[tuple[str, RunQuery]]:
    for order in RunOrder:
        yield f"50 {order} runs", RunQuery(order=order)
    second = store.runs(RunQuery(order=RunOrder.SLOWEST)).next_cursor
    yield "the next 50 slowest", RunQuery(order=RunOrder.SLOWEST, cursor=second)
    failed = RunQuery(outcomes=FAILED, workflow="workflow-3")
    yield "50 newest failed runs of a workflow", failed
    day = RunQuery(order=RunOrder.COSTLIEST, start_ns=START + DAY, end_ns=START + 2 * DAY)
    yield "50 costliest runs of a day", day


def random_runs(store: EmbeddedStore, start_ns: int, end_ns: int) -> list[str]:
    def sample(cursor):  # type: ignore[no-untyped-def]
        return cursor.execute(
            "SELECT run_id FROM runs WHERE started_ns >= ? AND started_ns < ?"
            " ORDER BY hash(run_id) LIMIT 500",
            [start_ns, end_ns],
        ).fetchall()

    return [row[0] for row in store._database.read(sample)]


def measure_commits(store: EmbeddedStore) -> None:
    for size, count in ((500, 200), (10_000, 12)):
        batches = [make_batch(size, f"{size}-{i}") for i in range(count)]
        times = sorted(elapsed_ms(partial(store.commit, batch)) for batch in batches)
        rate = size * count / (sum(times) / 1e3)
        print(
            f"commit of {size:,} spans and {size // SPANS_PER_RUN:,} runs: {rate:,.0f} spans/s,"
            f" p50 {statistics.median(times):.1f} ms, p99 {times[int(0.99 * count)]:.0f} ms,"
            f" max {times[-1]:.0f} ms"
        )
    print(f"RSS {rss_mb():,.0f} MB")


def make_batch(size: int, name: str) -> Batch:
    dice = random.Random(name)
    spans: list[StoredSpan] = []
    runs: list[StoredRun] = []
    for _ in range(size // SPANS_PER_RUN):
        trace_id, run_id = f"{dice.getrandbits(128):032x}", f"{dice.getrandbits(64):016x}"
        start = NOW + dice.randrange(60_000_000_000)
        spans.extend(
            make_span(dice, trace_id, run_id, start + i * 1_000_000_000, i)
            for i in range(SPANS_PER_RUN)
        )
        run = Run(
            run_id=run_id,
            trace_id=trace_id,
            workflow="workflow-1",
            started_ns=start,
            started_mono_ns=0,
            ended_ns=start + 12_000_000_000,
            outcome=Outcome.OK,
        )
        runs.append(StoredRun(run=run, service="service-1", environment="production"))
    return Batch(spans=spans, runs=runs)


def make_span(dice: random.Random, trace_id: str, run_id: str, start: int, i: int) -> StoredSpan:
    is_llm = i % 2 == 0
    cost = Cost(Decimal("0.00125"), Decimal("0.004"), Decimal("0.0001"), Decimal(0))
    span = Span(
        trace_id=trace_id,
        span_id=run_id if i == 0 else f"{dice.getrandbits(64):016x}",
        parent_id=run_id if i else None,
        kind=Kind.LLM if is_llm else Kind.TOOL,
        name="generation" if is_llm else f"tool-{dice.randrange(30)}",
        started_ns=start,
        ended_ns=start + dice.randrange(5_000_000_000),
        model="model-1" if is_llm else None,
        response_model="model-1-2026-10-01" if is_llm else None,
        usage=Usage(dice.randrange(4000), dice.randrange(800), 100, 0, 50) if is_llm else None,
        response_id=f"resp_{dice.getrandbits(96):024x}" if is_llm else None,
        finish_reason="stop" if is_llm else None,
        agent="agent-1",
        service="service-1",
        environment="production",
        attributes={"gen_ai.request.temperature": "0.7"} if is_llm else {},
    )
    return StoredSpan(
        span=span,
        workflow="workflow-1",
        run_id=run_id,
        provider="openai" if is_llm else None,
        cost=cost if is_llm else None,
    )


def measure_drop(store: EmbeddedStore, directory: Path) -> None:
    before = disk(directory / "spans")
    began = time.perf_counter()
    dropped = store.seal(START + (DAYS + 1) * DAY).dropped_days
    print(
        f"the last day sealed and the first dropped in {time.perf_counter() - began:.1f} s:"
        f" {dropped}; sealed files went from {before / 1e6:,.0f}"
        f" to {disk(directory / 'spans') / 1e6:,.0f} MB"
    )


def disk(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def rss_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def elapsed_ms(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    sys.exit(main())
