"""The Chat Completions API on the wire: bodies to conversations, replies to bodies and chunks."""

import time
from collections.abc import Iterator, Mapping

from tocsin.lab.fake_llm.conversation import Conversation, plain_text
from tocsin.lab.fake_llm.frames import Frame, argument_pieces, first_tokens, sse, text_pieces
from tocsin.lab.fake_llm.script import (
    Item,
    Request,
    StreamFailure,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
)

Json = dict[str, object]

_SYSTEM = ("system", "developer")


def conversation(body: Mapping[str, object]) -> Conversation:
    """Read the part of a request's body that differs between the APIs."""
    given = body.get("messages")
    messages = given if isinstance(given, list) else []
    items = [item for m in messages if isinstance(m, Mapping) for item in _items(m)]
    tools = body.get("tools")
    offered = tools if isinstance(tools, list) else []
    return Conversation(
        instructions="\n".join(item.text for item in items if item.role in _SYSTEM),
        items=tuple(item for item in items if item.role not in _SYSTEM),
        tools=tuple(str(tool.get("function", {}).get("name")) for tool in offered),
    )


def completion(reply: Text | ToolCalls, request: Request) -> Json:
    """The body of an answer that is not streamed."""
    message: Json = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    if isinstance(reply, Text):
        message["content"] = reply.text
    else:
        message["tool_calls"] = [_call(request, call, i) for i, call in enumerate(reply.calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    body = _head(reply, request, "chat.completion") | {"choices": [choice]}
    return body | {"usage": _usage(reply.usage)} if reply.usage else body


def frames(reply: Text | ToolCalls | StreamFailure, request: Request) -> Iterator[Frame]:
    """The chunks of a streamed answer, usage last and only when asked for."""
    if isinstance(reply, StreamFailure):
        if reply.after_chunks:
            yield from first_tokens(_chunks(Text(reply.text), request), reply.after_chunks)
        error = {"message": reply.message, "type": reply.code, "param": None, "code": reply.code}
        yield Frame(sse({"error": error}))
        return
    yield from _chunks(reply, request)
    finish = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(reply)}
    head = _chunk_head(reply, request)
    yield Frame(sse(head | {"choices": [finish]}))
    if request.include_usage and reply.usage:
        yield Frame(sse(head | {"choices": [], "usage": _usage(reply.usage)}))
    yield Frame(b"data: [DONE]\n\n")


def _items(message: Mapping[str, object]) -> Iterator[Item]:
    role, text = str(message.get("role", "")), plain_text(message.get("content"))
    if role == "tool":
        yield Item("output", "tool", text)
        return
    calls = message.get("tool_calls")
    if text or not calls:
        yield Item("message", role, text)
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function", {})
        arguments, name = str(function.get("arguments", "")), str(function.get("name", ""))
        yield Item("call", "assistant", arguments, name)


def _chunks(reply: Text | ToolCalls, request: Request) -> Iterator[Frame]:
    head = _chunk_head(reply, request)
    for delta, token in _deltas(reply, request):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield Frame(sse(head | {"choices": [choice]}), token)


def _deltas(reply: Text | ToolCalls, request: Request) -> Iterator[tuple[Json, bool]]:
    if isinstance(reply, Text):
        yield {"role": "assistant", "content": "", "refusal": None}, False
        for piece in text_pieces(reply.text):
            yield {"content": piece}, True
        return
    yield {"role": "assistant", "content": None, "refusal": None}, False
    for index, call in enumerate(reply.calls):
        opening = _call(request, ToolCall(call.name, ""), index)
        yield {"tool_calls": [{"index": index, **opening}]}, False
        for piece in argument_pieces(call.encoded()):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, True


def _chunk_head(reply: Text | ToolCalls, request: Request) -> Json:
    head = _head(reply, request, "chat.completion.chunk")
    return head | {"usage": None} if request.include_usage else head


def _head(reply: Text | ToolCalls, request: Request, kind: str) -> Json:
    head: Json = {
        "id": f"chatcmpl-{request.key[:29]}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": "fp_fake",
    }
    tier = reply.service_tier or request.service_tier
    return head | {"service_tier": tier} if tier else head


def _call(request: Request, call: ToolCall, index: int) -> Json:
    function = {"name": call.name, "arguments": call.encoded()}
    identity = f"call_{request.key[:22]}{index:02}"
    return {"id": identity, "type": "function", "function": function}


def _finish(reply: Text | ToolCalls) -> str:
    return reply.finish if isinstance(reply, Text) else "tool_calls"


def _usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
