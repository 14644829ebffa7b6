"""The Responses API on the wire: bodies to conversations, replies to bodies and events."""

import time
from collections.abc import Iterator, Mapping
from itertools import count

from tocsin.lab.fake_llm.conversation import Conversation, plain_text
from tocsin.lab.fake_llm.frames import Frame, argument_pieces, sse, text_pieces
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

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def conversation(body: Mapping[str, object]) -> Conversation:
    """Read the part of a request's body that differs between the APIs."""
    given = body.get("input")
    entries = given if isinstance(given, list) else [{"role": "user", "content": given}]
    items = [_item(entry) for entry in entries if isinstance(entry, Mapping)]
    system = [item.text for item in items if item.role in ("system", "developer")]
    tools = body.get("tools")
    offered = tools if isinstance(tools, list) else []
    return Conversation(
        instructions="\n".join([str(body.get("instructions") or ""), *system]).strip(),
        items=tuple(item for item in items if item.role not in ("system", "developer")),
        tools=tuple(str(tool.get("name") or tool.get("type")) for tool in offered),
    )


def completion(reply: Text | ToolCalls | StreamFailure, request: Request) -> Json:
    """The body of an answer that is not streamed."""
    if isinstance(reply, StreamFailure):
        return _failed(reply, request)
    return _completed(reply, request)


def frames(reply: Text | ToolCalls | StreamFailure, request: Request) -> Iterator[Frame]:
    """The events of a streamed answer, in the order the API sends them."""
    numbers = count()
    for kind, payload in _events(reply, request):
        event = {"type": kind, **payload, "sequence_number": next(numbers)}
        yield Frame(sse(event, kind), token=kind.endswith(".delta"))


def _item(entry: Mapping[str, object]) -> Item:
    match entry.get("type"):
        case "function_call":
            arguments, name = str(entry.get("arguments", "")), str(entry.get("name", ""))
            return Item("call", "assistant", arguments, name)
        case "function_call_output":
            return Item("output", "tool", plain_text(entry.get("output")))
        case None | "message":
            role = str(entry.get("role", ""))
            return Item("message", role, plain_text(entry.get("content")))
        case other:
            return Item("other", "", "", str(other))


def _events(
    reply: Text | ToolCalls | StreamFailure, request: Request
) -> Iterator[tuple[str, Json]]:
    started: Json = {"response": _response(request, status="in_progress")}
    yield "response.created", started
    yield "response.in_progress", started
    if isinstance(reply, StreamFailure):
        yield from _text_until_failure(reply, request)
        yield "response.failed", {"response": _failed(reply, request)}
        return
    if isinstance(reply, Text):
        yield from _text_events(reply, request)
    else:
        for index, call in enumerate(reply.calls):
            yield from _call_events(call, request, index)
    final = _completed(reply, request)
    yield f"response.{final['status']}", {"response": final}


def _text_until_failure(reply: StreamFailure, request: Request) -> Iterator[tuple[str, Json]]:
    left = reply.after_chunks
    for kind, payload in _text_events(Text(reply.text), request) if left else ():
        is_token = kind.endswith(".delta")
        if (is_token and left == 0) or kind.endswith(".done"):
            return
        left -= is_token
        yield kind, payload


def _text_events(reply: Text, request: Request) -> Iterator[tuple[str, Json]]:
    item = _message(reply, request)
    part = {"output_index": 0, "content_index": 0, "item_id": item["id"]}
    empty = {**item, "status": "in_progress", "content": []}
    yield "response.output_item.added", {"output_index": 0, "item": empty}
    yield "response.content_part.added", {**part, "part": _text_part("")}
    for piece in text_pieces(reply.text):
        yield "response.output_text.delta", {**part, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**part, "text": reply.text, "logprobs": []}
    yield "response.content_part.done", {**part, "part": _text_part(reply.text)}
    yield "response.output_item.done", {"output_index": 0, "item": item}


def _call_events(call: ToolCall, request: Request, index: int) -> Iterator[tuple[str, Json]]:
    item = _function_call(call, request, index)
    place = {"output_index": index, "item_id": item["id"]}
    empty = {**item, "status": "in_progress", "arguments": ""}
    yield "response.output_item.added", {"output_index": index, "item": empty}
    for piece in argument_pieces(call.encoded()):
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    yield "response.function_call_arguments.done", {**place, "arguments": call.encoded()}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _completed(reply: Text | ToolCalls, request: Request) -> Json:
    body = _response(request, status="completed")
    if isinstance(reply, Text):
        body["output"] = [_message(reply, request)]
        if reason := _INCOMPLETE.get(reply.finish):
            body |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    else:
        calls = enumerate(reply.calls)
        body["output"] = [_function_call(call, request, index) for index, call in calls]
    body["usage"] = _usage(reply.usage) if reply.usage else None
    if tier := reply.service_tier or request.service_tier:
        body["service_tier"] = tier
    return body


def _failed(reply: StreamFailure, request: Request) -> Json:
    error = {"code": reply.code, "message": reply.message}
    return _response(request, status="failed") | {"error": error}


def _response(request: Request, *, status: str) -> Json:
    asked = request.body
    return {
        "id": request.response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "model": request.model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "temperature": asked.get("temperature", 1.0),
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": asked.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "metadata": asked.get("metadata", {}),
    }


def _message(reply: Text, request: Request) -> Json:
    return {
        "id": f"msg_{request.key[:48]}",
        "type": "message",
        "role": "assistant",
        "status": "completed" if reply.finish == "stop" else "incomplete",
        "content": [_text_part(reply.text)],
    }


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _function_call(call: ToolCall, request: Request, index: int) -> Json:
    return {
        "id": f"fc_{request.key[:46]}{index:02}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{request.key[:22]}{index:02}",
        "name": call.name,
        "arguments": call.encoded(),
    }


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
