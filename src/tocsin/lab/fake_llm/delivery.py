"""Deliver a reply over one connection: on time, or not at all."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import json
from starlette.types import Receive, Scope, Send

from tocsin.lab.fake_llm import wire_chat, wire_responses
from tocsin.lab.fake_llm.frames import Frame, first_tokens
from tocsin.lab.fake_llm.script import (
    BreakStream,
    Drop,
    Failure,
    Hang,
    Latency,
    Reply,
    Request,
    StreamFailure,
    Text,
    ToolCalls,
)
from tocsin.lab.fake_llm.wire_errors import error_body, error_headers

TRANSPORT = "fake_llm.transport"
"""Where the server puts the connection's asyncio transport in the scope's state."""

_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


class Delivery:
    """An ASGI response that sends one reply."""

    def __init__(self, reply: Reply, request: Request) -> None:
        self._reply = reply
        self._request = request
        self._id = (b"x-request-id", f"req_{request.key[:32]}".encode())
        self._wire: Any = wire_chat if request.api == "chat" else wire_responses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply; return when it is out or the client has gone."""
        line = _Line(scope, receive, send)
        try:
            await self._deliver(line)
        except ConnectionResetError:
            return
        finally:
            await line.release()

    async def _deliver(self, line: "_Line") -> None:
        match self._reply:
            case Text() | ToolCalls() as reply:
                tokens = reply.usage.output if reply.usage else 0
                await self._answer(line, reply, reply.latency, tokens)
            case Failure() as failure:
                await line.pause(failure.latency.first_token_s + failure.latency.rest_s(0))
                headers = [_JSON, self._id, *error_headers(failure)]
                await line.send_all(failure.status, headers, error_body(failure))
            case StreamFailure() as failure:
                await self._fail(line, failure)
            case BreakStream() as broken:
                await self._break(line, broken)
            case Hang(seconds):
                await line.pause(seconds)
                await line.close()
            case Drop():
                await line.close()

    async def _answer(
        self, line: "_Line", reply: Text | ToolCalls | StreamFailure, latency: Latency, tokens: int
    ) -> None:
        if self._request.stream:
            await line.start(200, [_EVENTS, self._id])
            frames = self._wire.frames(reply, self._request)
            await line.stream(_paced(frames, latency, tokens), complete=True)
            return
        await line.pause(latency.first_token_s + latency.rest_s(tokens))
        body = json.encode(self._wire.completion(reply, self._request))
        await line.send_all(200, [_JSON, self._id], body)

    async def _fail(self, line: "_Line", failure: StreamFailure) -> None:
        if self._request.api == "chat" and not self._request.stream:
            await line.pause(failure.latency.first_token_s + failure.latency.rest_s(0))
            error = Failure(500, failure.code, failure.message)
            await line.send_all(500, [_JSON, self._id], error_body(error))
            return
        await self._answer(line, failure, failure.latency, 0)

    async def _break(self, line: "_Line", broken: BreakStream) -> None:
        text = Text(broken.text)
        if self._request.stream:
            await line.start(200, [_EVENTS, self._id])
            frames = first_tokens(self._wire.frames(text, self._request), broken.after_chunks)
            await line.stream(_paced(frames, broken.latency, 0), complete=False)
        else:
            await line.pause(broken.latency.first_token_s)
            body = json.encode(self._wire.completion(text, self._request))
            await line.start(200, [_JSON, self._id, (b"content-length", b"%d" % len(body))])
            await line.stream([(0.0, body[: len(body) // 2])], complete=False)
        await line.close()


class _Line:
    """One request's connection. Its methods raise ConnectionResetError when the client has gone."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport: asyncio.Transport = scope["state"][TRANSPORT]
        self._receive = receive
        self._send = send
        self._gone: asyncio.Task[None] | None = None

    async def pause(self, seconds: float) -> None:
        """Wait, unless the client goes away first."""
        if seconds <= 0:
            return
        if self._gone is None:
            self._gone = asyncio.create_task(self._wait_until_gone())
        done, _ = await asyncio.wait({self._gone}, timeout=seconds)
        if done:
            raise ConnectionResetError

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def stream(self, pieces: Iterable[tuple[float, bytes]], *, complete: bool) -> None:
        """Send each piece after its delay in seconds; pieces without delay go out together.

        complete: this is the whole body.
        """
        waiting: list[bytes] = []
        for delay_s, data in pieces:
            if delay_s > 0:
                await self._write(b"".join(waiting), more=True)
                waiting.clear()
                await self.pause(delay_s)
            waiting.append(data)
        await self._write(b"".join(waiting), more=not complete)

    async def send_all(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._write(body, more=False)

    async def close(self) -> None:
        """Close the connection after what was sent, and wait until it is closed."""
        self._transport.close()
        await self._wait_until_gone()

    async def release(self) -> None:
        """Stop watching the client."""
        if self._gone is not None:
            self._gone.cancel()
            await asyncio.wait({self._gone})

    async def _write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _paced(frames: Iterable[Frame], latency: Latency, tokens: int) -> Iterator[tuple[float, bytes]]:
    """Each frame with the seconds to wait before it: the latency, spread over the tokens."""
    pieces = list(frames)
    count = sum(frame.token for frame in pieces)
    rest_s = latency.rest_s(tokens or count)
    first_s, due_s = latency.first_token_s, 0.0
    if not count:  # then the last frame waits for everything
        pieces[-1] = pieces[-1]._replace(token=True)
        first_s += rest_s
    for frame in pieces:
        if frame.token:
            due_s, first_s = due_s + first_s, 0.0
        yield due_s, frame.data
        due_s = rest_s / count if frame.token and count else 0.0
