"""Questions answered as JSON on threads of their own, so that a slow one delays no sender."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tocsin.api.parameters import Parameters
from tocsin.errors import QueryError, StoreError

__all__ = ["Answering", "Unknown", "parameters_of"]

TIMEOUT_S: Final = 15.0
"""A little longer than a query may take: what waits for a thread that long is refused."""
THREADS: Final = 4


class Unknown(Exception):  # noqa: N818 - not a failure of anything
    """What was asked for does not exist; the message says so."""


class Answering:
    """Makes routes of functions from a request to what is written as JSON.

    Such a function runs on any of a few threads. QueryError becomes 400, Unknown 404, StoreError
    and no answer in time 503.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="query")

    def close(self) -> None:
        """Let go of the threads; questions that go on are waited for, others dropped."""
        self._threads.shutdown(cancel_futures=True)

    def route(self, path: str, answer: Callable[[Request], object]) -> Route:
        """Answer GET on a path."""
        return Route(path, self._respond(answer))

    def _respond(
        self, answer: Callable[[Request], object]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            loop = asyncio.get_running_loop()
            question = loop.run_in_executor(self._threads, _encoded, answer, request)
            try:
                async with asyncio.timeout(self._timeout_s):
                    return _json(await question)
            except TimeoutError:
                return _error(503, f"no answer within {self._timeout_s:g} s; ask for less")
            except QueryError as error:
                return _error(400, str(error))
            except Unknown as error:
                return _error(404, str(error))
            except StoreError as error:
                return _error(503, str(error))

        return respond


def parameters_of(request: Request) -> Parameters:
    """Return what a request asks by."""
    return Parameters(request.query_params.multi_items())


def _encoded(answer: Callable[[Request], object], request: Request) -> bytes:
    return msgspec.json.encode(answer(request))


def _error(code: int, message: str) -> Response:
    return _json(msgspec.json.encode({"error": message}), code)


def _json(body: bytes, code: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(body, status_code=code, media_type="application/json", headers=headers)
