"""Cost of reading OTLP spans: bytes -> Span, beside opentelemetry-proto and a walk into dicts.

Both ways run in one process in turn, so that a noisy machine slows both. Microseconds per span:
the least and the median of the rounds, and the spread between the quartiles.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tocsin.sources.otlp import decode_traces

NOW_NS = 1_800_000_000 * 10**9
SPANS = 512
TARGET_US = 12.0
SHARED = Path(os.environ.get("TOCSIN_SHARED", Path(__file__).parents[2] / "shared"))


def value(plain: object) -> AnyValue:
    match plain:
        case bool():
            return AnyValue(bool_value=plain)
        case int():
            return AnyValue(int_value=plain)
        case float():
            return AnyValue(double_value=plain)
        case [*items]:
            wrapped = AnyValue()
            wrapped.array_value.values.extend(value(item) for item in items)
            return wrapped
        case _:
            return AnyValue(string_value=str(plain))


def attributes(number: int) -> dict[str, object]:
    """Thirteen attributes, as OpenTelemetry's instrumentation of the OpenAI client writes them."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": ("gpt-4o-mini", "gpt-4o", "o4-mini")[number % 3],
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{number:032x}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 120 + number * 7 % 4000,
        "gen_ai.usage.output_tokens": 30 + number % 500,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "gen_ai.conversation.id": f"conv_{number % 64}",
        "gen_ai.agent.name": "support_agent",
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"hello"}]}]',
    }


def make_request() -> bytes:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name", value=value("bench"))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "opentelemetry.instrumentation.genai.openai"
    for number in range(SPANS):
        span = scope_spans.spans.add(
            trace_id=(number // 8 + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            parent_span_id=(number + 9_000).to_bytes(8, "big"),
            name="chat gpt-4o-mini",
            start_time_unix_nano=NOW_NS - 10**9,
            end_time_unix_nano=NOW_NS,
        )
        span.attributes.extend(
            KeyValue(key=key, value=value(plain)) for key, plain in attributes(number).items()
        )
    return request.SerializeToString()


def plain(any_value: AnyValue) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in any_value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in any_value.kvlist_value.values}
    return getattr(any_value, kind) if kind else None


def walk(body: bytes) -> int:
    """What a straightforward receiver does: parse with opentelemetry-proto, walk into dicts."""
    count = 0
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                {
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "name": span.name,
                    "times": (span.start_time_unix_nano, span.end_time_unix_nano),
                    "status": span.status.code,
                    "attributes": {pair.key: plain(pair.value) for pair in span.attributes},
                    "events": [event.name for event in span.events],
                }
                count += 1
    return count


def decode(body: bytes) -> int:
    return len(decode_traces(body, is_json=False, now_ns=NOW_NS).spans)


def rounds(
    bodies: list[bytes], ways: list[Callable[[bytes], int]], count: int
) -> Iterator[list[float]]:
    """Microseconds per span of each way, once per round."""
    for _ in range(count):
        costs = []
        for way in ways:
            started, spans = time.perf_counter(), 0
            for body in bodies:
                spans += way(body)
            costs.append((time.perf_counter() - started) / spans * 1e6)
        yield costs


def report(label: str, bodies: list[bytes], count: int) -> float:
    gc.collect()
    ways: list[Callable[[bytes], int]] = [decode, walk]
    spans = sum(decode(body) for body in bodies)
    print(f"{label}: {spans} spans of {sum(map(len, bodies)) / spans:.0f} bytes")
    columns: list[tuple[float, ...]] = list(zip(*rounds(bodies, ways, count), strict=True))
    for way, costs in zip(("tocsin", "opentelemetry-proto + dicts"), columns, strict=True):
        low, median, high = statistics.quantiles(costs, n=4)
        print(f"  {way:28} min {min(costs):6.2f}  median {median:6.2f}  spread {high - low:5.2f}")
    ratio = statistics.median(theirs / ours for ours, theirs in zip(*columns, strict=True))
    print(f"  {ratio:.1f} times as fast")
    return min(columns[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    rounds_of_recorded = max(3, arguments.rounds // 4)
    best = [report("made", [make_request()], arguments.rounds)]
    recorded = [
        path.read_bytes()
        for path in sorted((SHARED / "fixtures/otlp").glob("*.pb"))
        if not path.name.endswith(".metrics.pb")
    ]
    if recorded:
        label = "recorded, in batches as exporters make them"
        best.append(report(label, [one_batch(body) for body in recorded], rounds_of_recorded))
        report("recorded, a resource of its own for every run", recorded, rounds_of_recorded)
    print(f"target: {TARGET_US} µs per span, {'met' if max(best) <= TARGET_US else 'MISSED'}")


def one_batch(body: bytes) -> bytes:
    """The same spans as one resource, and one list for each scope."""
    read = ExportTraceServiceRequest.FromString(body)
    made = ExportTraceServiceRequest()
    made.resource_spans.add().resource.CopyFrom(read.resource_spans[0].resource)
    scopes: dict[str, Any] = {}
    for scope_spans in (s for resource in read.resource_spans for s in resource.scope_spans):
        found = scopes.get(scope_spans.scope.name)
        if found is None:
            found = scopes[scope_spans.scope.name] = made.resource_spans[0].scope_spans.add()
            found.scope.CopyFrom(scope_spans.scope)
        found.spans.extend(scope_spans.spans)
    return made.SerializeToString()


if __name__ == "__main__":
    main()
