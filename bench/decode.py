"""Microseconds per span from OTLP bytes to Spans, beside opentelemetry-proto walked into dicts.

The two take turns in one process, so that a noisy machine is noisy for both. The recordings are
measured too where they are present (TOCSIN_SHARED, or `shared` beside the repository).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tocsin.sources.otlp import decode_traces

SPANS = 512
BATCH_SPANS = 2_000
"""Spans of a body that are measured at least, so that a turn outlasts the clock's grain."""


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--turns", type=int, default=60)
    turns = options.parse_args().turns
    print(
        f"{'body':<30} {'way':<22} {'spans':>6} {'B/span':>7} {'min':>6} {'median':>7} {'IQR':>6}"
    )
    bodies = {"13 attributes": make_request(SPANS).SerializeToString(), **recordings()}
    for name, body in bodies.items():
        report(name, body, turns if name == "13 attributes" else max(5, turns // 6))


def report(name: str, body: bytes, turns: int) -> None:
    """Measure both ways on a body, and print their figures and their ratio."""
    spans = len(walk(body))
    ways: dict[str, Callable[[bytes], object]] = {"tocsin": to_spans, "opentelemetry-proto": walk}
    times = measure(ways, body, spans, turns)
    for way, taken in times.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        print(
            f"{name:<30} {way:<22} {spans:>6} {len(body) // spans:>7}"
            f" {min(taken):>6.1f} {middle:>7.1f} {high - low:>6.1f}"
        )
    ours, theirs = (min(taken) for taken in times.values())
    print(f"{name:<30} ratio of minima {theirs / ours:.2f}")


def measure(
    ways: dict[str, Callable[[bytes], object]], body: bytes, spans: int, turns: int
) -> dict[str, list[float]]:
    """Microseconds per span of every turn, the ways taking turns."""
    repeats = max(1, BATCH_SPANS // spans)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way, function in ways.items():
            started = time.perf_counter()
            for _ in range(repeats):
                function(body)
            times[way].append((time.perf_counter() - started) / repeats / spans * 1e6)
    return times


def to_spans(body: bytes) -> object:
    """Ours: bytes -> Spans."""
    return decode_traces(body, is_json=False)


def walk(body: bytes) -> list[dict[str, Any]]:
    """Theirs: bytes -> messages -> one dict per span."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        {
            "name": span.name,
            "ids": (span.trace_id, span.span_id, span.parent_span_id),
            "times": (span.start_time_unix_nano, span.end_time_unix_nano),
            "status": span.status.code,
            **{pair.key: plain(pair.value) for pair in span.attributes},
        }
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    ]


def plain(value: Any) -> Any:
    """An AnyValue as Python's own."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def make_request(count: int) -> ExportTraceServiceRequest:
    """LLM spans as the GenAI conventions have them: 13 attributes, about 700 bytes."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    add(group.resource.attributes, "service.name", "support")
    scoped = group.scope_spans.add()
    scoped.scope.name = "opentelemetry.instrumentation.genai.openai"
    started = time.time_ns()
    for number in range(count):
        span = scoped.spans.add(name="chat gpt-4o-mini", kind=3)
        span.trace_id = (number // 8 + 1).to_bytes(16, "big")
        span.span_id = (number + 1).to_bytes(8, "big")
        span.start_time_unix_nano = started + number
        span.end_time_unix_nano = started + number + 900_000_000
        for key, value in attributes(number).items():
            add(span.attributes, key, value)
    return request


def attributes(number: int) -> dict[str, str | int | float]:
    """Attributes of one span; the message is what Tocsin leaves undecoded."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{number:08}",
        "gen_ai.conversation.id": f"conversation-{number // 8}",
        "gen_ai.agent.name": "support_agent",
        "gen_ai.usage.input_tokens": 120 + number,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "server.address": "api.openai.com",
        "gen_ai.input.messages": '[{"role": "user", "content": "' + "x" * 120 + '"}]',
    }


def add(pairs: Any, key: str, value: str | int | float) -> None:
    """Append an attribute."""
    pair = pairs.add(key=key)
    if isinstance(value, str):
        pair.value.string_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    else:
        pair.value.double_value = value


def recordings() -> dict[str, bytes]:
    """Bodies recorded from real libraries; none where they are absent."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TOCSIN_SHARED", beside)) / "fixtures" / "otlp"
    found = sorted(p for p in folder.glob("*.pb") if not p.name.endswith(".metrics.pb"))
    return {path.stem: path.read_bytes() for path in found}


if __name__ == "__main__":
    main()
