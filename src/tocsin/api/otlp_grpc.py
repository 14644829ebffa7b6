"""OTLP over gRPC: the three Export methods, as bytes, so that no generated code is needed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import grpc
import grpc.aio

from tocsin.api.answers import export_response, retry_info, status_body
from tocsin.api.intake import Intake, Parcel, Reserve
from tocsin.api.refusal import Reason, RefusedError
from tocsin.errors import ConfigError
from tocsin.model.telemetry import Format, Signal

__all__ = ["GrpcReceiver"]

logger = logging.getLogger(__name__)

STREAMS: Final = 16
"""Messages that one connection may send at once; the rest waits at the sender's."""
READING: Final = 4
"""Messages that are read at once: each may have the body limit, and gRPC holds it twice or thrice
until we have it."""
AHEAD_BYTES: Final = 256 << 10
"""What gRPC reads of a message before we ask for it."""
READ_TIMEOUT_S: Final = 30.0
TURN_TIMEOUT_S: Final = 5.0
"""How long a sender waits for its turn; with the time to send, less than what senders allow."""

SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}
CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Handler = Callable[[Any, Any], Awaitable[bytes]]


class GrpcReceiver:
    """A gRPC server of OTLP. It decompresses gzip and deflate itself, up to the body limit."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        options = [
            ("grpc.max_receive_message_length", intake.body_limit),
            ("grpc.max_concurrent_streams", STREAMS),
            ("grpc.http2.bdp_probe", 0),  # or it reads ahead as much as the network brings
            ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
            ("grpc.so_reuseport", 0),  # a second server gets an error, not half of the requests
        ]
        self._reading = asyncio.Semaphore(READING)
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers(tuple(map(self._service, Signal)))

    def bind(self, host: str, port: int) -> int:
        """Take an address; return the port, a free one for 0. Raises ConfigError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {address} (OTLP over gRPC): in use?") from error

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, and end when what goes on is answered, or the time is over."""
        await self._server.stop(grace_s)

    def _service(self, signal: Signal) -> grpc.GenericRpcHandler:
        # On the wire a stream of one message is the same as a message. As a stream, we are asked
        # before it is read, and can refuse.
        method: Any = grpc.stream_unary_rpc_method_handler(self._handler(signal))
        return grpc.method_handlers_generic_handler(SERVICES[signal], {"Export": method})

    def _handler(self, signal: Signal) -> Handler:
        async def export(_: Any, context: Any) -> bytes:
            body = b""
            try:
                self._intake.admit(signal)
                with self._intake.room.reserving() as reserve:
                    body = await self._read(context, reserve)
                    await self._intake.take(Parcel(signal, Format.PROTOBUF, "", body), reserve)
            except RefusedError as refused:
                code = CODES[refused.reason.value.grpc]
                context.set_trailing_metadata(_details(refused))
                self._intake.count("grpc", signal, code=code.name, size=len(body))
                with suppress(grpc.aio.InternalError):  # where nobody waits for the answer
                    await context.abort(code, str(refused))
                return b""
            self._intake.count("grpc", signal, code="OK", size=len(body))
            return export_response(signal, Format.PROTOBUF)

        return export

    async def _read(self, context: Any, reserve: Reserve) -> bytes:
        async with self._turn():
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    message = await context.read()
            except TimeoutError as error:
                late = f"the message did not arrive within {READ_TIMEOUT_S:g} s"
                raise RefusedError(Reason.TIMEOUT, late) from error
            if message is grpc.aio.EOF:
                raise RefusedError(Reason.MALFORMED, "there is no message")
            # Before the next one is read, so that no more than room and readers hold is in memory.
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_TIMEOUT_S):
                    await self._intake.room.await_free(len(message))
            reserve(len(message))
        return bytes(message)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until another message may be read. Raises RefusedError."""
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._reading.acquire()
        except TimeoutError as error:
            message = "too many messages are arriving at once"
            raise RefusedError(Reason.BEHIND, message) from error
        try:
            yield
        finally:
            self._reading.release()


def _details(refused: RefusedError) -> tuple[tuple[str, bytes], ...]:
    details = [("grpc-status-details-bin", status_body(refused, Format.PROTOBUF))]
    info = retry_info(refused)
    if info is not None:
        # Where OpenTelemetry's Python exporter looks for it.
        details.append(("google.rpc.retryinfo-bin", info.SerializeToString()))
    return tuple(details)
