"""Posting bodies with as little work per request as possible."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["HttpSender", "Send", "grpc_sender"]

Send = Callable[[bytes], Awaitable[float]]
"""Posts a body; returns 0, or how many seconds to wait before trying again."""


class HttpSender:
    """One kept connection. headers: whole lines, each ended by CRLF."""

    def __init__(self, port: int, headers: str = "") -> None:
        self._port, self._headers = port, headers
        self._streams: Any = None

    async def post(self, body: bytes) -> float:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = (
            "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf"
            f"\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        writer.write(body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        if length := _header(answer, "content-length"):
            await reader.readexactly(int(length))
        if re.match(rb"HTTP/1.1 20[02]", answer):
            return 0.0
        if not re.match(rb"HTTP/1.1 (503|429)", answer):
            raise SystemExit(answer.decode())
        return float(_header(answer, "retry-after") or 1)


def _header(answer: bytes, name: str) -> str | None:
    found = re.search(rf"(?i)\r\n{name}: (\d+)".encode(), answer)
    return found and found[1].decode()


def grpc_sender(port: int, encoding: str) -> Send:
    """Return a function that posts over a channel of its own."""
    import grpc
    import grpc.aio

    pool = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=pool)
    call: Any = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    compression = grpc.Compression.Gzip if encoding == "gzip" else grpc.Compression.NoCompression

    async def post(body: bytes) -> float:
        try:
            await call(body, compression=compression)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return 1.0
        return 0.0

    return post
