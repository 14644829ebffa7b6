"""The recorded telemetry of other libraries: our own, and the shared where it is at hand."""

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tocsin.model.run import Outcome
from tocsin.model.span import Kind, Span
from tocsin.runs.fold import FoldedRun
from tocsin.runs.traces import TraceBook
from tocsin.runs.tree import CALLS
from tocsin.sources.any_value import decode_any_value
from tocsin.sources.otlp import decode_traces
from tocsin.sources.otlp_wire import Request

SHARED = Path(os.environ.get("TOCSIN_SHARED") or Path(__file__).parents[2].parent / "shared")
RECORDINGS = SHARED / "fixtures" / "otlp"
OWN_RECORDINGS = Path(__file__).parents[1] / "fixtures" / "otlp"

NS_PER_S = 1_000_000_000

WORST_FIRST = (Outcome.MAX_TURNS, Outcome.GUARDRAIL, Outcome.ERROR, Outcome.CANCELLED, Outcome.OK)


class Truth(msgspec.Struct, frozen=True):
    """What a right reading of one scenario yields; outcome None is not judged."""

    llm_calls: int
    input_tokens: int
    llm_errors: dict[str, int]
    tool_calls: int
    tool_errors: int
    handoffs: int
    guardrail_checks: int
    usage_missing: int
    ttft: bool
    outcome: str | None


def truths(folder: Path = RECORDINGS) -> dict[tuple[str, str], Truth]:
    """(recording, scenario) -> truth; empty where the recordings are absent."""
    path = folder / "expected.json"
    if not path.exists():
        return {}
    recordings = json.loads(path.read_text())["recordings"]
    return {
        (recording, scenario): msgspec.convert(truth, Truth)
        for recording, scenarios in recordings.items()
        for scenario, truth in scenarios.items()
    }


def requests(recording: str) -> dict[str, Any]:
    """OTLP/JSON requests of a recording, by scenario."""
    content = json.loads((RECORDINGS / f"{recording}.json").read_text())
    scenarios: dict[str, Any] = content.get("scenarios", content)
    return scenarios


def binary_spans(recording: str, folder: Path = RECORDINGS) -> dict[str, list[Span]]:
    """Spans of the one binary request that holds every scenario."""
    body = (folder / f"{recording}.pb").read_bytes()
    found: dict[str, list[Span]] = {}
    for resource_spans in Request.FromString(body).resource_spans:
        scenario = decode_any_value(resource_spans.resource.attributes["fixture.scenario"])
        one = Request(resource_spans=[resource_spans]).SerializeToString()
        decoded = decode_traces(one, is_json=False)
        assert (0, 0) == (decoded.skipped.total(), decoded.repaired.total())
        found.setdefault(str(scenario), []).extend(decoded.spans)
    return found


def arrive(spans: list[Span], seed: str) -> list[FoldedRun]:
    """Let spans come in any order, in batches of any size, some of them twice."""
    dice = random.Random(seed)
    spans = [*spans, *dice.sample(spans, k=min(3, len(spans)))]
    dice.shuffle(spans)
    book = TraceBook()
    position = now_ns = 0
    while spans:
        size = dice.randint(1, 5)
        batch, spans = spans[:size], spans[size:]
        position += 1
        now_ns += NS_PER_S // 100
        book.add(batch, position, now_ns)
        assert [] == book.settled(now_ns)
    runs = [run for trace in book.settled(now_ns + 2 * NS_PER_S) for run in trace.runs]
    runs += [run for trace in book.settled(now_ns + 100 * NS_PER_S) for run in trace.runs]
    return runs


def check(truth: Truth, spans: list[Span], seed: str) -> None:
    """Whether spans, however they arrive, are read as the truth has it."""
    assert truth == read_truth(arrive(spans, seed), judged=truth.outcome is not None)


def read_truth(runs: list[FoldedRun], *, judged: bool) -> Truth:
    """Sum runs up as the truth of a scenario is written."""
    counted: list[Span] = [p.span for run in runs for p in run.spans if p.counted]
    calls = [span for span in counted if span.kind in CALLS]
    tools = [span for span in counted if span.kind is Kind.TOOL]
    outcomes = {run.run.outcome for run in runs}
    return Truth(
        llm_calls=sum(run.run.llm_calls for run in runs),
        input_tokens=sum(span.usage.input_tokens for span in calls if span.usage),
        llm_errors=dict(Counter(span.error.value for span in calls if span.error)),
        tool_calls=len(tools),
        tool_errors=sum(span.error is not None for span in tools),
        handoffs=sum(span.kind is Kind.HANDOFF for span in counted),
        guardrail_checks=sum(span.kind is Kind.GUARDRAIL for span in counted),
        usage_missing=sum(span.usage is None and span.error is None for span in calls),
        ttft=any(span.first_token_s is not None for span in counted),
        outcome=next(o for o in WORST_FIRST if o in outcomes).value if judged else None,
    )
