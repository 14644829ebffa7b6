"""What a fake model is asked and what it may answer: plain data, no I/O."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec import json

Api = Literal["responses", "chat"]
Finish = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a conversation, the same whichever API carried it.

    text: the message, a call's arguments as JSON, or a tool's output. name: the called tool.
    """

    kind: Literal["message", "call", "output", "other"]
    role: str
    text: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to the model, decoded.

    key: hex, unique per call, the same in every run with the same seed and calls.
    attempt: how many calls with the same content came before this one.
    step: rounds of tool calls since the last user message.
    step_since_handoff: the same, counted from the last `transfer_to_…` call if there is one.
    user: the last user message. tool_outputs: those since the last user message.
    service_tier: as requested; None when not asked for or "auto".
    rng: seeded from `key`; the only source of chance a behaviour may use.
    """

    api: Api
    model: str
    instructions: str
    items: tuple[Item, ...]
    tools: tuple[str, ...]
    stream: bool
    include_usage: bool
    service_tier: str | None
    step: int
    step_since_handoff: int
    user: str
    tool_outputs: tuple[str, ...]
    key: str
    attempt: int
    rng: random.Random = field(repr=False, compare=False)
    body: Mapping[str, object] = field(repr=False, compare=False)

    @property
    def response_id(self) -> str:
        """The id of the response, which a later request may name as `previous_response_id`."""
        return f"resp_{self.key[:48]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply. cached and cache_write are part of input, reasoning of output."""

    input: int = 120
    cached: int = 64
    cache_write: int = 0
    output: int = 30
    reasoning: int = 10

    @property
    def total(self) -> int:
        """Input plus output tokens."""
        return self.input + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a reply takes. total_s, when given, wins over per_token_s.

    An answer that is not streamed waits for all of it before its first byte.
    """

    first_token_s: float = 0.0
    per_token_s: float = 0.0
    total_s: float | None = None

    def rest_s(self, output_tokens: int) -> float:
        """Seconds from the first token to the end."""
        if self.total_s is not None:
            return max(0.0, self.total_s - self.first_token_s)
        return self.per_token_s * output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What text and tool calls share.

    usage: None means the provider does not report it. service_tier: None repeats the requested one.
    """

    usage: Usage | None = Usage()
    latency: Latency = Latency()
    service_tier: str | None = None


@dataclass(frozen=True, slots=True)
class Text(Answer):
    """A text answer. A finish other than "stop" makes it an incomplete one."""

    text: str
    finish: Finish = "stop"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; arguments as a string are sent as they are, valid JSON or not."""

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)

    def encoded(self) -> str:
        """The arguments as the wire carries them."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.encode(self.arguments).decode()


@dataclass(frozen=True, slots=True)
class ToolCalls(Answer):
    """One tool call, or several at once. A handoff is a call of `transfer_to_<agent>`."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error. code and message default to what OpenAI sends with that status."""

    status: int
    code: str | None = None
    message: str | None = None
    retry_after_s: float | None = None
    latency: Latency = Latency()


@dataclass(frozen=True, slots=True)
class Hang:
    """Accept the request and never answer; close the connection after so many seconds."""

    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class BreakStream:
    """Close the connection after so many pieces of the answer; not streamed, half-way through."""

    after_chunks: int = 1
    text: str = "This answer never reaches its end."
    latency: Latency = Latency()


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """The model fails after the request was accepted, and says so.

    Responses API: status "failed", streamed or not. Chat: an error event in the stream, or a 500.
    code: "server_error" or "rate_limit_exceeded".
    """

    after_chunks: int = 0
    code: str = "server_error"
    message: str = "The model failed to generate a response."
    text: str = "This answer fails before its end."
    latency: Latency = Latency()


Reply = Text | ToolCalls | Failure | Hang | Drop | BreakStream | StreamFailure
Behaviour = Callable[[Request], Reply]
