"""Spans by hand after the GenAI conventions, exported by the OpenTelemetry SDK: http or grpc."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openai import APIStatusError
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.trace import Span, SpanKind

from tests.e2e.senders import job

TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }
]
tracer = trace.get_tracer("weather-agent")


@contextmanager
def operation(name: str, target: str, **attributes: Any) -> Iterator[Span]:
    kind = SpanKind.CLIENT if name == "chat" else SpanKind.INTERNAL
    with tracer.start_as_current_span(f"{name} {target}", kind=kind) as span:
        span.set_attributes({"gen_ai.operation.name": name})
        span.set_attributes({f"gen_ai.{key}": value for key, value in attributes.items()})
        try:
            yield span
        except APIStatusError as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_attribute("http.response.status_code", error.status_code)
            raise


def note_usage(span: Span, model: str, usage: Any) -> None:
    span.set_attributes(
        {
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.prompt_tokens_details.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": (
                usage.completion_tokens_details.reasoning_tokens
            ),
        }
    )


async def chat(model: str, messages: list[Any]) -> Any:
    with operation("chat", model, **{"provider.name": "openai", "request.model": model}) as span:
        answer = await job.client().chat.completions.create(
            model=model, messages=messages, tools=TOOLS
        )
        note_usage(span, answer.model, answer.usage)
        return answer.choices[0].message


async def stream(model: str, messages: list[Any]) -> Any:
    with operation("chat", model, **{"provider.name": "openai", "request.model": model}) as span:
        started_s, first_s = time.monotonic(), None
        async with job.client().chat.completions.stream(
            model=model, messages=messages, tools=TOOLS, stream_options={"include_usage": True}
        ) as events:
            async for _ in events:
                first_s = first_s or time.monotonic() - started_s
            answer = await events.get_final_completion()
        span.set_attribute("gen_ai.response.time_to_first_chunk", first_s or 0.0)
        note_usage(span, answer.model, answer.usage)
        return answer.choices[0].message


async def agent(model: str, ask: Any) -> None:
    with operation("invoke_agent", "weather", **{"agent.name": "weather"}):
        messages: list[Any] = [{"role": "user", "content": job.QUESTION}]
        message = await ask(model, messages)
        messages.append(message)
        for call in message.tool_calls:
            with operation("execute_tool", "weather", **{"tool.name": "weather"}):
                result = json.dumps({"sun": True})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        await ask(model, messages)


def main(protocol: str) -> None:
    count = job.SpanCount()
    if protocol == "grpc":
        exporter: Any = GrpcExporter(insecure=True)
    else:
        exporter = HttpExporter(compression=Compression.Gzip)
    provider = job.exporting(count, exporter)
    job.do(
        lambda: agent(job.MODEL, chat),
        lambda: agent(job.MODEL, stream),
        lambda: agent(job.LIMITED_MODEL, chat),
    )
    provider.shutdown()
    job.say(count)


if __name__ == "__main__":
    main(sys.argv[1])
