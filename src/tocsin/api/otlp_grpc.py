"""OTLP over gRPC: the three Export methods, as bytes, so that no generated code is needed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from tocsin.api.answers import export_response, retry_info, status_body
from tocsin.api.intake import Intake, Parcel
from tocsin.api.refusal import Reason, RefusedError
from tocsin.errors import ConfigError
from tocsin.model.telemetry import Format, Signal

__all__ = ["GrpcReceiver"]

logger = logging.getLogger(__name__)

READING: Final = 16
"""Messages that we read at once; what gRPC reads ahead of us is beyond our reach."""
READ_TIMEOUT_S: Final = 30.0

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
            ("grpc.max_concurrent_streams", READING),  # per connection; the rest waits
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
                body = await self._read(context)
                with self._intake.room.reserving() as reserve:
                    reserve(len(body))
                    await self._intake.take(Parcel(signal, Format.PROTOBUF, "", body))
            except RefusedError as refused:
                code = CODES[refused.reason.value.grpc]
                context.set_trailing_metadata(_details(refused))
                self._intake.count("grpc", signal, code=code.name, size=len(body))
                await context.abort(code, str(refused))
            self._intake.count("grpc", signal, code="OK", size=len(body))
            return export_response(signal, Format.PROTOBUF)

        return export

    async def _read(self, context: Any) -> bytes:
        async with self._reading:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    message = await context.read()
            except TimeoutError as error:
                late = f"the message did not arrive within {READ_TIMEOUT_S:g} s"
                raise RefusedError(Reason.TIMEOUT, late) from error
        if message is grpc.aio.EOF:
            raise RefusedError(Reason.MALFORMED, "there is no message")
        return bytes(message)


def _details(refused: RefusedError) -> tuple[tuple[str, bytes], ...]:
    details = [("grpc-status-details-bin", status_body(refused, Format.PROTOBUF))]
    info = retry_info(refused)
    if info is not None:
        # Where OpenTelemetry's Python exporter looks for it.
        details.append(("google.rpc.retryinfo-bin", info.SerializeToString()))
    return tuple(details)
