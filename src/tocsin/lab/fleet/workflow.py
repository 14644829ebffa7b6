"""What a workflow is: how its runs start, and how the fake models behind its agents behave."""

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from agents import Agent, ModelSettings, RunConfig, Runner
from agents.retry import ModelRetryBackoffSettings, ModelRetrySettings, retry_policies
from openai import AsyncOpenAI

from tocsin.lab.fake_llm import Behaviour
from tocsin.lab.fleet.arrivals import Arrival

__all__ = ["Errand", "Start", "Workflow", "execute", "pick", "settings"]

Start = Callable[[Arrival, AsyncOpenAI], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow: its name, what starts one run of it, and its agents' behaviours by name.

    An agent's instructions begin with "You are <name>.", which is how a fake model tells who asks.
    """

    name: str
    start: Start
    behaviours: Mapping[str, Behaviour]


@dataclass(slots=True)
class Errand:
    """What one run's tools share, through the SDK's context: the run's own chance."""

    seed: str
    calls: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def chance(self, *what: str) -> Random:
        """Return a source of chance for the next call of this kind.

        It depends on the call only, not on the order in which parallel calls come.
        """
        self.calls[what] += 1
        return Random(f"{self.seed} {what} {self.calls[what]}")


RETRIES: Final = ModelRetrySettings(
    max_retries=2,
    backoff=ModelRetryBackoffSettings(initial_delay=0.05, max_delay=0.2, jitter=False),
    policy=retry_policies.http_status([429, 500]),
)


def settings(*, retries: bool = True) -> ModelSettings:
    """Model settings of an agent: usage reported in streams too; 429 and 500 tried again."""
    return ModelSettings(include_usage=True, retry=RETRIES if retries else None)


def pick(rng: Random, phrases: Sequence[tuple[float, str]]) -> str:
    """Choose one of (weight, phrase)."""
    return rng.choices([text for _, text in phrases], [weight for weight, _ in phrases])[0]


async def execute(
    agent: Agent[Errand], said: str, arrival: Arrival, *, streamed: bool, max_turns: int = 10
) -> object:
    """Run an agent as a program would, to its final output or its exception."""
    config = RunConfig(workflow_name=arrival.workflow, group_id=arrival.conversation)
    options: dict[str, Any] = {
        "context": Errand(arrival.seed),
        "run_config": config,
        "max_turns": max_turns,
    }
    if not streamed:
        return (await Runner.run(agent, said, **options)).final_output
    result = Runner.run_streamed(agent, said, **options)
    try:
        async for _ in result.stream_events():
            pass
    except BaseException:
        result.cancel()  # a consumer who leaves would let it go on in the background
        raise
    return result.final_output
