"""What every sender does: three runs of one small agent against the fake model.

A run that calls a tool, the same streamed, and one whose model answers 429. The sender's last line
on stdout is the number of spans that it exported.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from openai import AsyncOpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

BASE_URL = os.environ["FAKE_LLM"]
MODEL = "gpt-4o"
LIMITED_MODEL = "gpt-4o-mini"
"""Its every call is answered 429."""
QUESTION = "What is the weather in Paris?"

Run = Callable[[], Awaitable[object]]


class SpanCount(SpanProcessor):
    """Counts what is exported."""

    def __init__(self) -> None:
        self.spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        # Logfire also makes a span when a span begins, for its own live view; it stays inside.
        if (span.attributes or {}).get("logfire.span_type") != "pending_span":
            self.spans += 1


def client() -> AsyncOpenAI:
    """A client of the fake model; a repeated call would be one more that spans may not show."""
    return AsyncOpenAI(base_url=BASE_URL, api_key="x", max_retries=0)


def exporting(count: SpanCount, exporter: SpanExporter | None = None) -> TracerProvider:
    """Make the real SDK export to the address in OTEL_EXPORTER_OTLP_ENDPOINT."""
    provider = TracerProvider()
    provider.add_span_processor(count)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def do(answered: Run, streamed: Run, limited: Run) -> None:
    """Do the three runs; the last has to fail."""

    async def work() -> None:
        await answered()
        await streamed()
        try:
            await limited()
        except Exception as error:
            if "429" not in str(error):
                raise
        else:
            raise AssertionError("the limited model answered")

    asyncio.run(work())


def say(count: SpanCount) -> None:
    """Tell the test how many spans were exported."""
    sys.stdout.write(f"{count.spans}\n")
