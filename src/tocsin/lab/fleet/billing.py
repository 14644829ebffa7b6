"""billing: one agent on the Chat Completions API, a tool that may time out, an output guardrail."""

from asyncio import sleep
from random import Random
from typing import Any, Final

from agents import (
    Agent,
    GuardrailFunctionOutput,
    OpenAIChatCompletionsModel,
    RunContextWrapper,
    function_tool,
    output_guardrail,
)
from openai import AsyncOpenAI

from tocsin.lab.fake_llm import (
    Reply,
    Request,
    Text,
    ToolCall,
    ToolCalls,
    choose,
    script,
    tokens,
)
from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.models import spending
from tocsin.lab.fleet.workflow import Errand, Workflow, execute, pick, settings

__all__ = ["BILLING"]

REFUND_TIMEOUT_S: Final = 1.5
TRIAL_SHARE: Final = 0.2
"""Of the runs, on a model without a public price."""
REQUESTS: Final = (
    (70, "Please refund invoice R-{index}."),
    (30, "What does invoice R-{index} consist of?"),
)
TIMED_OUT: Final = "timed out"


@function_tool
async def fetch_invoice(context: RunContextWrapper[Errand], invoice: str) -> str:
    """Fetch an invoice."""
    await sleep(0.12 * context.context.chance("fetch_invoice", invoice).lognormvariate(0, 0.3))
    return f"Invoice {invoice}: 3 items, 41.90 EUR."


@function_tool(timeout=REFUND_TIMEOUT_S)
async def refund(context: RunContextWrapper[Errand], invoice: str) -> str:
    """Pay an invoice back."""
    rng = context.context.chance("refund", invoice)
    is_stuck = rng.random() < 0.08
    await sleep(60 if is_stuck else 0.25 * rng.lognormvariate(0, 0.5))
    return f"Invoice {invoice} is refunded."


@output_guardrail(name="card_number")
async def card_number(
    _context: RunContextWrapper[Any], _agent: Agent[Any], output: object
) -> GuardrailFunctionOutput:
    """Hold back answers that show a card's number."""
    found = "4111 1111" in str(output)
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=found)


def clerk(client: AsyncOpenAI, model: str) -> Agent[Errand]:
    """Build the agent."""
    return Agent(
        name="clerk",
        instructions="You are clerk. Answer questions about invoices, and refund them.",
        model=OpenAIChatCompletionsModel(model, client),
        model_settings=settings(),
        tools=[fetch_invoice, refund],
        output_guardrails=[card_number],
    )


async def start(arrival: Arrival, client: AsyncOpenAI) -> object:
    """Run the workflow once."""
    rng = Random(arrival.seed)
    said = pick(rng, REQUESTS).format(index=2000 + arrival.index)
    model = "acme-7b" if rng.random() < TRIAL_SHARE else "gpt-4o-mini"
    return await execute(clerk(client, model), said, arrival, streamed=rng.random() < 0.5)


def _clerk(request: Request) -> Reply:
    invoice = next((w.strip(".?") for w in request.user.split() if w.startswith("R-")), "R-0")
    wants_refund = "refund" in request.user
    if request.step == 0:
        return ToolCalls((ToolCall("fetch_invoice", {"invoice": invoice}),))
    again = TIMED_OUT in request.tool_outputs[-1] and request.step < 4
    if wants_refund and (request.step == 1 or again):
        return ToolCalls((ToolCall("refund", {"invoice": invoice}),))
    return choose([(0.95, script([_answer(invoice)])), (0.05, script([_leak(invoice)]))])(request)


def _answer(invoice: str) -> Text:
    return Text(f"Invoice {invoice} is settled: 41.90 EUR go back to your account in two days.")


def _leak(invoice: str) -> Text:
    return Text(f"Invoice {invoice} was paid with card 4111 1111 1111 1111.")


BILLING: Final = Workflow(
    name="billing", start=start, behaviours={"clerk": tokens(_clerk, spending(900, 80))}
)
