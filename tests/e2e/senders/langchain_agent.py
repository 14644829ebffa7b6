"""LangChain, recorded by OpenInference's instrumentor or by Traceloop's."""

import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.e2e.senders import job

ASKED: Any = {"messages": [{"role": "user", "content": job.QUESTION}]}


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def agent(model: str, **options: Any) -> Any:
    chat = ChatOpenAI(model=model, base_url=job.BASE_URL, api_key="x", max_retries=0, **options)
    return create_agent(chat, [weather], name="weather")


async def streamed() -> None:
    made = agent(job.MODEL, streaming=True, stream_usage=True)
    async for _ in made.astream(ASKED, stream_mode="messages"):
        pass


def instrument(library: str, provider: Any) -> None:
    if library == "openinference":
        from openinference.instrumentation.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument(tracer_provider=provider)
    else:
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        LangchainInstrumentor().instrument(tracer_provider=provider)


def main(library: str) -> None:
    count = job.SpanCount()
    provider = job.exporting(count)
    instrument(library, provider)
    job.do(
        lambda: agent(job.MODEL).ainvoke(ASKED),
        streamed,
        lambda: agent(job.LIMITED_MODEL).ainvoke(ASKED),
    )
    provider.shutdown()
    job.say(count)


if __name__ == "__main__":
    main(sys.argv[1])
