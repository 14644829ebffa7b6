"""From a request's JSON to the `Request` a behaviour sees, whichever API carried it."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from msgspec import json

from tocsin.lab.fake_llm.script import Api, Item, Reply, Request, Text, ToolCalls

HANDOFF_PREFIX = "transfer_to_"
_RESPONSES_KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The part of a request's body that its API shapes."""

    instructions: str
    items: tuple[Item, ...]
    tools: tuple[str, ...]


class Intake:
    """Numbers requests and gives each its key and its source of chance.

    Ids in the body do not count, so a repeated conversation is recognised as the same. Not
    thread-safe: one event loop owns it.
    """

    def __init__(self, seed: int, remembered: int = 65_536) -> None:
        """remembered: how many distinct contents are counted before the oldest is forgotten."""
        self._seed = seed
        self._remembered = remembered
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._responses: OrderedDict[str, tuple[Item, ...]] = OrderedDict()

    def request(self, api: Api, body: Mapping[str, object], said: Conversation) -> Request:
        """Build the request that this body makes."""
        model, stream = str(body.get("model")), body.get("stream") is True
        items = (*self._responses.get(str(body.get("previous_response_id")), ()), *said.items)
        content = json.encode((api, model, stream, said.instructions, items, said.tools))
        digest = hashlib.sha256(content).digest()
        attempt = self._attempt(digest)
        key = hashlib.sha256(b"%d %d " % (self._seed, attempt) + digest).hexdigest()
        recent = _since_user(items)
        options, tier = body.get("stream_options"), body.get("service_tier")
        return Request(
            api=api,
            model=model,
            instructions=said.instructions,
            items=items,
            tools=said.tools,
            stream=stream,
            include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
            service_tier=tier if isinstance(tier, str) and tier != "auto" else None,
            step=_rounds(recent),
            step_since_handoff=_rounds(_since_handoff(recent)),
            user=next((i.text for i in reversed(items) if i.role == "user"), ""),
            tool_outputs=tuple(item.text for item in recent if item.kind == "output"),
            key=key,
            attempt=attempt,
            rng=Random(int(key, 16)),
            body=body,
        )

    def remember(self, request: Request, reply: Reply) -> None:
        """Keep a response's conversation, for requests that name it instead of repeating it."""
        if request.api != "responses":
            return
        self._responses[request.response_id] = (*request.items, *_said(reply))
        if len(self._responses) > _RESPONSES_KEPT:
            self._responses.popitem(last=False)

    def _attempt(self, digest: bytes) -> int:
        attempt = self._seen.pop(digest, 0)
        self._seen[digest] = attempt + 1
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return attempt


def plain_text(content: object) -> str:
    """The text of a message's content: a string, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, Mapping))
    return "".join(text for part in parts if isinstance(text := part.get("text"), str))


def _said(reply: Reply) -> tuple[Item, ...]:
    match reply:
        case Text(text):
            return (Item("message", "assistant", text),)
        case ToolCalls(calls):
            return tuple(Item("call", "assistant", c.encoded(), c.name) for c in calls)
        case _:
            return ()


def _since_user(items: tuple[Item, ...]) -> tuple[Item, ...]:
    for index in range(len(items) - 1, -1, -1):
        if items[index].role == "user":
            return items[index + 1 :]
    return items


def _since_handoff(items: tuple[Item, ...]) -> tuple[Item, ...]:
    for index in range(len(items) - 1, -1, -1):
        if items[index].kind == "call" and items[index].name.startswith(HANDOFF_PREFIX):
            return items[index + 1 :]
    return items


def _rounds(items: tuple[Item, ...]) -> int:
    """Count the runs of consecutive calls: calls made at once are one round."""
    before = ("", *(item.kind for item in items))
    return sum(i.kind == "call" and was != "call" for was, i in zip(before, items, strict=False))
