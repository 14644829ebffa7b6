"""Export requests of agent traces, prebuilt, and made new again at the cost of a copy."""

import random
import re
from typing import Any

import numpy as np

__all__ = ["SPANS", "Template", "make_templates"]

SPANS = 500
SPAN_BYTES = 1200
TRACE = ("agent", "llm", "tool", "llm", "tool", "llm", "tool", "llm", "tool", "llm")
"""One trace: an agent that asks its model five times and calls a tool in between."""
ID_MARK = b"\xca\xfe\xba\xbe"
TIME_MARK = b"\xfe\xed\xfa\xce"
TIME = re.compile(re.escape(TIME_MARK) + b"(.{4})", re.DOTALL)
STEP_US = 400_000
"""Between the starts of a trace's spans."""


class Template:
    """A request whose ids carry `ID_MARK` and whose times are told before now, in microseconds."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        found = list(TIME.finditer(body))
        self._places = np.array([match.start() for match in found])[:, None] + np.arange(8)
        before_us = [int.from_bytes(match[1], "little") for match in found]
        self._before_ns = np.array(before_us, dtype=np.uint64) * np.uint64(1000)

    def fill(self, serial: int, now_ns: int) -> bytes:
        """Return a body with ids of its own, whose last span has just ended."""
        body = bytearray(self._body.replace(ID_MARK, serial.to_bytes(4, "big")))
        times = np.uint64(now_ns) - self._before_ns
        np.frombuffer(body, np.uint8)[self._places] = times.view(np.uint8).reshape(-1, 8)
        return bytes(body)


def make_templates(count: int) -> list[Template]:
    """Make requests of `SPANS` spans, which are whole traces."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    random.seed(1)
    templates = []
    for body in range(count):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        service = resource.resource.attributes.add()
        service.key, service.value.string_value = "service.name", "bench"
        scope = resource.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.genai"
        for number in range(SPANS):
            _fill(scope.spans.add(), number, body)
        templates.append(Template(request.SerializeToString()))
    return templates


def _fill(span: Any, number: int, body: int) -> None:
    trace, place = divmod(number, len(TRACE))
    kind, flow = TRACE[place], (trace + body) % 20
    span.trace_id = trace.to_bytes(4, "big") * 2 + ID_MARK + ID_MARK
    span.span_id = number.to_bytes(4, "big") + ID_MARK
    if place:
        span.parent_span_id = (number - place).to_bytes(4, "big") + ID_MARK
    span.name, span.kind = f"{kind} {flow}", 3
    jitter_us = trace * 1_000 + place
    begun_us = (len(TRACE) - place) * STEP_US + jitter_us
    ended_us = jitter_us if place == 0 else begun_us - random.randrange(20_000, STEP_US)
    span.start_time_unix_nano = _marked(begun_us)
    span.end_time_unix_nano = _marked(ended_us)
    attributes = _attributes(kind, flow, number)
    for key, value in attributes.items():
        _add(span, key, value)
    content = "gen_ai.tool.call.result" if kind == "tool" else "gen_ai.output.messages"
    _add(span, content, random.randbytes((SPAN_BYTES - span.ByteSize()) // 2 - 20).hex())


def _attributes(kind: str, flow: int, number: int) -> dict[str, str | int]:
    if kind == "agent":
        return {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": f"agent-{flow}",
            "gen_ai.workflow.name": f"workflow-{flow}",
            "gen_ai.conversation.id": random.randbytes(16).hex(),
        }
    if kind == "tool":
        return {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": f"tool-{number % 30}",
            "gen_ai.tool.call.id": f"call_{random.randbytes(12).hex()}",
            "gen_ai.tool.call.arguments": f'{{"query": "{random.randbytes(20).hex()}"}}',
        }
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.response.model": "gpt-4.1-2025-04-14",
        "gen_ai.response.id": f"chatcmpl-{random.randbytes(12).hex()}",
        "gen_ai.agent.name": f"agent-{flow}",
        "gen_ai.usage.input_tokens": 1200 + number * 7 % 4000,
        "gen_ai.usage.output_tokens": 30 + number,
    }


def _add(span: Any, key: str, value: str | int) -> None:
    attribute = span.attributes.add()
    attribute.key = key
    if isinstance(value, int):
        attribute.value.int_value = value
    else:
        attribute.value.string_value = value


def _marked(before_us: int) -> int:
    return int.from_bytes(TIME_MARK + before_us.to_bytes(4, "little"), "little")
