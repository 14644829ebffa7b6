"""Runs for a span store, with only what a test cares about."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes.spans import run, span
from tocsin.model.run import Outcome
from tocsin.model.span import Cost, ErrorClass, Kind, Usage
from tocsin.store.base import Batch, StoredRun, StoredSpan
from tocsin.store.embedded.store import EmbeddedStore

CENT = Decimal("0.01")


def stored_run(
    run_id: str, *, at_s: float = 0, lasts_s: float = 1, service: str | None = "shop", **fields: Any
) -> StoredRun:
    """A finished run that began at_s after noon; environment is prod unless it is a test run."""
    moved = run(run_id, lasts_s=lasts_s, **({"outcome": Outcome.OK} | fields))
    shift_ns = int(at_s * 1e9)
    moved.started_ns += shift_ns
    assert moved.ended_ns is not None
    moved.ended_ns += shift_ns
    return StoredRun(run=moved, service=service, environment="prod")


def stored_call(run_id: str, span_id: str, *, workflow: str = "w", **fields: Any) -> StoredSpan:
    """An LLM call of 100 + 50 tokens for three cents."""
    found: dict[str, Any] = {"usage": Usage(100, 50), "model": "gpt-4o", "service": "shop"}
    found |= fields
    cost = Cost(CENT, 2 * CENT, Decimal(0), Decimal(0)) if found["usage"] else None
    call = span(Kind.LLM, span_id, **({"parent_id": run_id} | found))
    return StoredSpan(span=call, workflow=workflow, run_id=run_id, cost=cost)


def support_run() -> Batch:
    """A run of 4 s: a streamed call, a failed tool and its retry, a call that reports no tokens."""
    fields: dict[str, Any] = {"workflow": "support", "run_id": "5eed0000000000aa"}

    def stored(kind: Kind, span_id: str, parent: str | None, **more: Any) -> StoredSpan:
        retry = bool(more.pop("retry", False))
        return StoredSpan(span=span(kind, span_id, parent, **more), retry=retry, **fields)

    root = fields["run_id"]
    first = stored_call(
        root, "c1", workflow="support", parent_id="a", at_s=0.5, lasts_s=1, first_token_s=0.5
    )
    return Batch(
        spans=[
            stored(Kind.RUN, root, None, name="support", lasts_s=4),
            stored(Kind.AGENT, "a", root, name="Triage", lasts_s=3.5),
            first,
            stored(
                Kind.TOOL, "t1", "a", name="lookup", at_s=1.5, lasts_s=0.5, error=ErrorClass.TIMEOUT
            ),
            stored(Kind.TOOL, "t2", "a", name="lookup", at_s=2, lasts_s=0.5, retry=True),
            stored(Kind.LLM, "c2", "a", name="chat", model="own", at_s=2.5, lasts_s=1),
        ],
        runs=[
            stored_run(
                root,
                lasts_s=4,
                workflow="support",
                conversation_id="chat/7",
                turns=2,
                llm_calls=2,
                tool_calls=2,
                input_tokens=100,
                output_tokens=50,
                usage_missing=1,
                priced_calls=1,
                cost_usd=3 * CENT,
            )
        ],
    )


def moved(batch: Batch, shift_ns: int) -> Batch:
    """The same at another time."""

    def later(record: Any) -> Any:
        times = {name: getattr(record, name) + shift_ns for name in ("started_ns", "ended_ns")}
        return msgspec.structs.replace(record, **times)

    return Batch(
        spans=[msgspec.structs.replace(s, span=later(s.span)) for s in batch.spans],
        runs=[msgspec.structs.replace(r, run=later(r.run)) for r in batch.runs],
    )


def fill(directory: Path, *batches: Batch) -> None:
    """Store batches and let go of the directory."""
    store = EmbeddedStore(directory)
    for batch in batches:
        store.commit(batch)
    store.close()
