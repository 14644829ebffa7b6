"""customer-support: triage hands over to a billing or a technical desk; an input guardrail."""

from asyncio import sleep
from random import Random
from typing import Any, Final

from agents import (
    Agent,
    GuardrailFunctionOutput,
    OpenAIResponsesModel,
    RunContextWrapper,
    function_tool,
    input_guardrail,
)
from openai import AsyncOpenAI

from tocsin.lab.fake_llm import Behaviour, Reply, Request, Text, ToolCall, ToolCalls, tokens
from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.models import spending
from tocsin.lab.fleet.workflow import Errand, Workflow, execute, pick, settings

__all__ = ["SUPPORT"]

REQUESTS: Final = (
    (33, "Where is my order A-{index}?"),
    (20, "I was charged twice for order A-{index}, please check."),
    (30, "The app shows error E-{index} when I open my basket."),
    (6, "The app fails with E-{index} at every login. Compare all known causes in full detail."),
    (9, "You useless bots, where is order A-{index}?"),
)
STREAMED_SHARE: Final = 0.5
INSULTS: Final = ("useless", "idiots")
TOOL_FAILED: Final = "An error occurred"
"""How the SDK's own words for a failed tool begin."""


class OrdersUnavailableError(Exception):
    """The order service did not answer."""


@function_tool
async def lookup_order(context: RunContextWrapper[Errand], order: str) -> str:
    """Look an order up."""
    rng = context.context.chance("lookup_order", order)
    await _work(rng, 0.08)
    if rng.random() < 0.1:
        raise OrdersUnavailableError("503 from the order service")
    return f"Order {order}: sent on Monday, expected on Thursday."


@function_tool
async def search_kb(context: RunContextWrapper[Errand], query: str) -> str:
    """Search the knowledge base."""
    await _work(context.context.chance("search_kb", query), 0.15)
    return f"3 articles about {query}."


@input_guardrail(name="abuse")
async def abuse(
    _context: RunContextWrapper[Any], _agent: Agent[Any], said: str | list[Any]
) -> GuardrailFunctionOutput:
    """Refuse insults."""
    found = [word for word in INSULTS if word in str(said)]  # a streamed run shows it as items
    return GuardrailFunctionOutput(output_info=found, tripwire_triggered=bool(found))


def triage(client: AsyncOpenAI) -> Agent[Errand]:
    """Build the agents; the first one hands over to the others."""
    desks = [
        _desk("billing_desk", OpenAIResponsesModel("gpt-4o-mini", client), lookup_order),
        _desk("tech_desk", OpenAIResponsesModel("gpt-4o", client), search_kb),
    ]
    return Agent(
        name="triage",
        instructions="You are triage. Send each customer to the right desk.",
        model=OpenAIResponsesModel("gpt-4.1-nano", client),
        model_settings=settings(),
        handoffs=[*desks],
        input_guardrails=[abuse],
    )


def _desk(name: str, model: OpenAIResponsesModel, tool: Any) -> Agent[Errand]:
    instructions = f"You are {name}. Solve the customer's problem."
    return Agent(
        name=name,
        instructions=instructions,
        model=model,
        model_settings=settings(retries=name == "tech_desk"),
        tools=[tool],
    )


async def start(arrival: Arrival, client: AsyncOpenAI) -> object:
    """Run the workflow once."""
    rng = Random(arrival.seed)
    said = pick(rng, REQUESTS).format(index=1000 + arrival.index)
    return await execute(triage(client), said, arrival, streamed=rng.random() < STREAMED_SHARE)


def _triage(request: Request) -> Reply:
    desk = "tech_desk" if "E-" in request.user else "billing_desk"
    return ToolCalls((ToolCall(f"transfer_to_{desk}"),))


def _billing_desk(request: Request) -> Reply:
    order = _subject(request.user, "A-")
    failed = request.tool_outputs[-1].startswith(TOOL_FAILED)
    if request.step_since_handoff == 0 or (failed and request.step_since_handoff < 3):
        return ToolCalls((ToolCall("lookup_order", {"order": order}),))
    if failed:
        return Text("I cannot see your order at the moment. We will write to you today.")
    return Text(f"Your order {order} is on its way and will be with you on Thursday.")


def _tech_desk(request: Request) -> Reply:
    error = _subject(request.user, "E-")
    queries = [error, f"{error} basket"][: 2 if request.rng.random() < 0.4 else 1]
    if "detail" in request.user:
        queries = [f"{error} {where}" for where in ("login", "basket", "network", "cache")]
    if request.step_since_handoff == 0:
        return ToolCalls(tuple(ToolCall("search_kb", {"query": query}) for query in queries))
    return Text(f"{error} goes away after an update to version 4.2. Please try it and tell us.")


def _subject(said: str, prefix: str) -> str:
    found = (word.strip("?,. ") for word in said.split() if word.startswith(prefix))
    return next(found, f"{prefix}0")


def _verbose(plain: Behaviour, thorough: Behaviour) -> Behaviour:
    return lambda request: (thorough if "detail" in request.user else plain)(request)


async def _work(rng: Random, median_s: float) -> None:
    await sleep(median_s * rng.lognormvariate(0, 0.4))


SUPPORT: Final = Workflow(
    name="customer-support",
    start=start,
    behaviours={
        "triage": tokens(_triage, spending(420, 20)),
        "billing_desk": tokens(_billing_desk, spending(760, 70)),
        "tech_desk": _verbose(
            tokens(_tech_desk, spending(1100, 110)), tokens(_tech_desk, spending(3200, 420))
        ),
    },
)
