"""Pydantic AI, recorded by its own instrumentation."""

from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.e2e.senders import job


def agent(model: str) -> Agent[None, str]:
    made = Agent(
        OpenAIChatModel(model, provider=OpenAIProvider(openai_client=job.client())),
        name="weather",
    )

    @made.tool_plain
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"sun in {city}"

    return made


async def streamed() -> None:
    async with agent(job.MODEL).run_stream(job.QUESTION) as result:
        async for _ in result.stream_text():
            pass


def main() -> None:
    count = job.SpanCount()
    provider = job.exporting(count)
    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
    job.do(
        lambda: agent(job.MODEL).run(job.QUESTION),
        streamed,
        lambda: agent(job.LIMITED_MODEL).run(job.QUESTION),
    )
    provider.shutdown()
    job.say(count)


if __name__ == "__main__":
    main()
