"""research: a planner whose tool is a second agent, which searches the web in parallel; streamed.

Now and then a question makes it run away: in tokens, or in turns.
"""

from asyncio import sleep
from random import Random
from typing import Final

from agents import Agent, OpenAIResponsesModel, RunContextWrapper, function_tool
from openai import AsyncOpenAI

from tocsin.lab.fake_llm import Behaviour, Reply, Request, Text, ToolCall, ToolCalls, tokens
from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.models import spending
from tocsin.lab.fleet.workflow import Errand, Workflow, execute, pick, settings

__all__ = ["RESEARCH"]

MAX_TURNS: Final = 4
QUESTIONS: Final = (
    (80, "How did the market for {thing} change in {year}?"),
    (9, "Read the whole archive on {thing} since {year} and quote it."),
    (8, "Find every last source on {thing} since {year}, do not stop early."),
)
THINGS: Final = ("heat pumps", "cargo bikes", "oat milk", "solar roofs", "trams", "hearing aids")


class SearchRefusedError(Exception):
    """The search engine refused the query."""


@function_tool
async def web_search(context: RunContextWrapper[Errand], query: str) -> str:
    """Search the web."""
    rng = context.context.chance("web_search", query)
    await sleep(0.35 * rng.lognormvariate(0, 0.5))
    if rng.random() < 0.03:
        raise SearchRefusedError("429 from the search engine")
    return f"10 pages about {query}."


def planner(client: AsyncOpenAI) -> Agent[Errand]:
    """Build the agents; the first one uses the second as a tool."""
    researcher: Agent[Errand] = Agent(
        name="researcher",
        instructions="You are researcher. Search the web and sum up what you find.",
        model=OpenAIResponsesModel("gpt-4.1-mini", client),
        model_settings=settings(),
        tools=[web_search],
    )
    return Agent(
        name="planner",
        instructions="You are planner. Split the question up and write the report.",
        model=OpenAIResponsesModel("gpt-4.1", client),
        model_settings=settings(),
        tools=[researcher.as_tool("research", "Look one aspect of the question up.")],
    )


async def start(arrival: Arrival, client: AsyncOpenAI) -> object:
    """Run the workflow once."""
    rng = Random(arrival.seed)
    question = pick(rng, QUESTIONS)
    said = question.format(thing=rng.choice(THINGS), year=2000 + arrival.index % 25)
    return await execute(planner(client), said, arrival, streamed=True, max_turns=MAX_TURNS)


def _planner(request: Request) -> Reply:
    if request.step == 0 or "every last source" in request.user:
        aspect = f"{request.user} (part {request.step + 1})"
        return ToolCalls((ToolCall("research", {"input": aspect}),))
    return Text("Sales doubled, prices fell by a fifth, and two makers left the market. " * 3)


def _researcher(request: Request) -> Reply:
    if request.step == 0:
        topics = ("sales", "prices", "makers", "rules")[: request.rng.choice((2, 3, 3, 4))]
        calls = (ToolCall("web_search", {"query": f"{request.user}: {word}"}) for word in topics)
        return ToolCalls(tuple(calls))
    return Text("Four sources agree that sales doubled while prices fell.")


def _by_size(short: Behaviour, huge: Behaviour) -> Behaviour:
    return lambda request: (huge if "whole archive" in request.user else short)(request)


RESEARCH: Final = Workflow(
    name="research",
    start=start,
    behaviours={
        "planner": tokens(_planner, spending(1500, 320)),
        "researcher": _by_size(
            tokens(_researcher, spending(2600, 240)), tokens(_researcher, spending(19_000, 2_200))
        ),
    },
)
