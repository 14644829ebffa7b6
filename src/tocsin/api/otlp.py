"""OTLP over HTTP: POST /v1/traces, /v1/metrics, /v1/logs."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tocsin.api.answers import export_response, status_body
from tocsin.api.compression import ACCEPTED
from tocsin.api.intake import Intake, Parcel
from tocsin.api.refusal import Reason, RefusedError
from tocsin.model.telemetry import Format, Signal

__all__ = ["otlp_routes"]

logger = logging.getLogger(__name__)

BODY_TIMEOUT_S: Final = 30.0
CLIENT_GONE: Final = 499
DISCARDED_BYTES: Final = 64 << 20
DISCARD_S: Final = 5.0
FORMATS: Final = {
    "application/x-protobuf": Format.PROTOBUF,
    "application/protobuf": Format.PROTOBUF,
    "application/json": Format.JSON,
}


def otlp_routes(intake: Intake) -> list[Route]:
    """Return the routes of the three signals."""
    return [
        Route(f"/v1/{signal.value}", Receiver(intake, signal).receive, methods=["POST"])
        for signal in Signal
    ]


class Receiver:
    """Answers one signal's requests."""

    def __init__(self, intake: Intake, signal: Signal) -> None:
        self._intake = intake
        self._signal = signal

    async def receive(self, request: Request) -> Response:
        """Answer 200 when the body is durable, else with the reason in the request's format."""
        format_ = FORMATS.get(_media_type(request), Format.JSON)
        size = 0

        def grow(more: int) -> None:
            nonlocal size
            size += more

        try:
            await self._take(request, format_, grow)
        except RefusedError as refused:
            if refused.reason is not Reason.TIMEOUT:
                await _discard(request)
            response = _refusal(refused, format_)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        else:
            response = _respond(200, export_response(self._signal, format_), format_)
        self._intake.count("http", self._signal, code=str(response.status_code), size=size)
        return response

    async def _take(self, request: Request, format_: Format, grow: Callable[[int], None]) -> None:
        if _media_type(request) not in FORMATS:
            raise RefusedError(
                Reason.UNSUPPORTED,
                f"Content-Type {_media_type(request)[:60]!r} is not OTLP; "
                "send application/x-protobuf or application/json",
            )
        self._intake.admit(self._signal)
        with self._intake.room.reserving() as reserve:

            def more(size: int) -> None:
                reserve(size)
                grow(size)

            body = await _read(request, self._intake.body_limit, more)
            encoding = request.headers.get("content-encoding", "")
            await self._intake.take(Parcel(self._signal, format_, encoding, body), reserve)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(request: Request, limit: int, more: Callable[[int], None]) -> bytes:
    """Read a body that may not be larger than `limit`; `more` is told of each piece's size."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise _too_large(limit)
                more(len(piece))
                pieces.append(piece)
    except TimeoutError as error:
        message = f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
        raise RefusedError(Reason.TIMEOUT, message) from error
    return b"".join(pieces)


async def _discard(request: Request) -> None:
    """Let a refused body come to its end.

    Where the sender asked to close the connection after the answer, closing it while the body
    still comes in resets it, and the answer is lost: what is too large would be sent again.
    """
    size = 0
    # RuntimeError is how Starlette says that it has come already.
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DISCARD_S):
            async for piece in request.stream():
                size += len(piece)
                if size > DISCARDED_BYTES:
                    return


def _too_large(limit: int) -> RefusedError:
    return RefusedError(Reason.TOO_LARGE, f"the body has more than {limit} bytes")


def _refusal(refused: RefusedError, format_: Format) -> Response:
    codes = refused.reason.value
    response = _respond(codes.http, status_body(refused, format_), format_)
    if codes.retry_after_s is not None:
        response.headers["Retry-After"] = str(codes.retry_after_s)
    if refused.reason is Reason.UNSUPPORTED:
        response.headers["Accept-Encoding"] = ACCEPTED
    return response


def _respond(code: int, body: bytes, format_: Format) -> Response:
    return Response(body, status_code=code, media_type=format_.content_type)
