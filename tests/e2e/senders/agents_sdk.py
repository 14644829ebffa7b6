"""The OpenAI Agents SDK, recorded by Pydantic Logfire or by OpenInference."""

import sys
from typing import Any

from agents import (
    Agent,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    set_trace_processors,
)

from tests.e2e.senders import job

CONFIG = RunConfig(workflow_name="weather")


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def agent(model: str) -> Agent[Any]:
    return Agent(
        name="forecaster",
        tools=[weather],
        model=OpenAIResponsesModel(model=model, openai_client=job.client()),
    )


async def streamed() -> None:
    result = Runner.run_streamed(agent(job.MODEL), job.QUESTION, run_config=CONFIG)
    async for _ in result.stream_events():
        pass


def work() -> None:
    job.do(
        lambda: Runner.run(agent(job.MODEL), job.QUESTION, run_config=CONFIG),
        streamed,
        lambda: Runner.run(agent(job.LIMITED_MODEL), job.QUESTION, run_config=CONFIG),
    )


def by_logfire(count: job.SpanCount) -> None:
    import logfire

    set_trace_processors([])  # or the SDK would send its traces to OpenAI as well
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[count])
    logfire.instrument_openai_agents()
    work()
    logfire.shutdown()


def by_openinference(count: job.SpanCount) -> None:
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    provider = job.exporting(count)
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
    work()
    provider.shutdown()


if __name__ == "__main__":
    spans = job.SpanCount()
    {"logfire": by_logfire, "openinference": by_openinference}[sys.argv[1]](spans)
    job.say(spans)
