"""Requests in another form, or with something wrong."""

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HOSTILE: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 1 << 64, 1e308, "", "\x00", "x" * 10_000, "9" * 400, [], {}, [[]] * 50),
    *({"stringValue": 1}, {"intValue": "-9223372036854775809"}, {"arrayValue": {"values": 1}}),
    *("0" * 32, "f" * 16, "zz", str(2**63), "1e3", "NaN"),
)


def as_json(made: ExportTraceServiceRequest) -> bytes:
    """A request as OTLP/JSON: protobuf's JSON, but with ids in hexadecimal."""
    plain = MessageToDict(made)
    found = (
        (as_dict, span)
        for resource_dict, resource in zip(
            plain.get("resourceSpans", []), made.resource_spans, strict=True
        )
        for scope_dict, scope in zip(
            resource_dict.get("scopeSpans", []), resource.scope_spans, strict=True
        )
        for as_dict, span in zip(scope_dict.get("spans", []), scope.spans, strict=True)
    )
    for as_dict, span in found:
        as_dict["traceId"], as_dict["spanId"] = span.trace_id.hex(), span.span_id.hex()
        as_dict["parentSpanId"] = span.parent_span_id.hex()
    return msgspec.json.encode(plain)


def mutate(body: bytes, chance: random.Random) -> bytes:
    """Change, drop, double or insert some bytes."""
    mutated = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(mutated) + 1)
        end = min(len(mutated), at + chance.choice((1, 1, 1, 4, 40)))
        piece = bytes(mutated[at:end])
        noise = chance.randbytes(chance.randint(0, 3))
        mutated[at:end] = chance.choice((noise, b"", piece * 2, piece + noise))
    return bytes(mutated)


def mutate_json(body: bytes, chance: random.Random) -> bytes:
    """Put something else in place of a few values, or take them out."""
    plain = msgspec.json.decode(body)
    places = list(_places(plain))
    for holder, key in chance.sample(places, k=min(len(places), chance.randint(1, 4))):
        if isinstance(holder, dict) and chance.random() < 0.2:
            holder.pop(key, None)
        else:
            holder[key] = chance.choice(HOSTILE)
    return msgspec.json.encode(plain)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key in range(len(node)) if isinstance(node, list) else list(node):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])
