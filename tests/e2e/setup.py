"""The real SDK's models in front of the fake server; imports what every version of the SDK has."""

from dataclasses import dataclass
from typing import Any

from agents import OpenAIChatCompletionsModel, OpenAIResponsesModel
from openai import AsyncOpenAI


@dataclass(frozen=True, slots=True)
class Setup:
    """What a scenario needs: models that talk to the fake server."""

    client: AsyncOpenAI

    @property
    def responses(self) -> OpenAIResponsesModel:
        return OpenAIResponsesModel("gpt-4o", self.client)

    @property
    def chat(self) -> OpenAIChatCompletionsModel:
        return OpenAIChatCompletionsModel("gpt-4o", self.client)


async def drain(result: Any) -> None:
    async for _ in result.stream_events():
        pass
