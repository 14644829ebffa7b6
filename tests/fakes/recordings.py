"""The recorded telemetry of other libraries, where it is at hand."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tocsin.model.run import Outcome
from tocsin.model.span import Kind, Span
from tocsin.runs.fold import FoldedRun
from tocsin.runs.tree import CALLS

SHARED = Path(os.environ.get("TOCSIN_SHARED") or Path(__file__).parents[2].parent / "shared")
RECORDINGS = SHARED / "fixtures" / "otlp"

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


def truths() -> dict[tuple[str, str], Truth]:
    """(recording, scenario) -> truth; empty where the recordings are absent."""
    path = RECORDINGS / "expected.json"
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
