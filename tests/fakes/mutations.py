"""Requests in another form, or with something wrong."""

import random

import msgspec
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


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
