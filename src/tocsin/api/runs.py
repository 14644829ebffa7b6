"""Runs, conversations and trends as JSON, read-only: /api/v1/runs, /conversations, /trends."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tocsin.api.documents import (
    ConversationDocument,
    ErrorsPoint,
    LatencyPoint,
    RunsDocument,
    RunViewDocument,
    UsagePoint,
)
from tocsin.api.parameters import (
    Parameters,
    conversation_limit,
    run_query,
    span_limit,
    trend_question,
)
from tocsin.api.run_ids import find_run
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import QueryError, StoreError
from tocsin.store.base import RunReader

__all__ = ["RunRoutes"]

Answer = TypeVar("Answer")

TIMEOUT_S: Final = 15.0
"""A little longer than a query may take: what waits for a thread that long is refused."""
THREADS: Final = 4
MAX_POINTS: Final = 10_000


class Unknown(Exception):  # noqa: N818 - not a failure of anything
    """What was asked for does not exist; the message says so."""


class RunRoutes:
    """Answers from a store, on threads of its own so that a slow question delays no sender.

    store: asked from several threads at once; raises StoreError where a question takes too long.
    """

    def __init__(
        self, store: RunReader, *, clock: Clock = SYSTEM_CLOCK, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="query")
        self.routes: Final = [
            Route("/api/v1/runs", self._route(self._runs)),
            Route("/api/v1/runs/{run_id}", self._route(self._run)),
            Route("/api/v1/conversations/{conversation_id:path}", self._route(self._conversation)),
            *(
                Route(f"/api/v1/trends/{name}", self._route(functools.partial(self._trend, name)))
                for name in TRENDS
            ),
        ]

    def close(self) -> None:
        """Let go of the threads; questions that go on are waited for, others dropped."""
        self._threads.shutdown(cancel_futures=True)

    def _route(
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

    def _runs(self, request: Request) -> RunsDocument:
        query = run_query(_parameters(request), self._clock.wall_ns())
        return RunsDocument.of(self._store.runs(query))

    def _run(self, request: Request) -> RunViewDocument:
        limit = span_limit(_parameters(request))
        asked = request.path_params["run_id"]
        view = find_run(self._store, asked)
        if view is None:
            raise Unknown(f"there is no run {asked[:100]!r}")
        return RunViewDocument.of(view, limit)

    def _conversation(self, request: Request) -> ConversationDocument:
        limit = conversation_limit(_parameters(request))
        asked = request.path_params["conversation_id"]
        found = self._store.conversation(asked, limit=limit)
        if found is None:
            raise Unknown(f"there is no conversation {asked[:100]!r}")
        return ConversationDocument.of(found)

    def _trend(self, name: str, request: Request) -> dict[str, object]:
        question = trend_question(_parameters(request), self._clock.wall_ns())
        ask, document = getattr(self._store, name), TRENDS[name]
        points = ask(*question)
        if len(points) > MAX_POINTS:
            raise QueryError(
                f"{len(points)} groups and steps are more than {MAX_POINTS}; take longer steps"
            )
        return {"points": [document.of(point) for point in points]}


class Document(Protocol):
    """A kind of answer."""

    @classmethod
    def of(cls, found: Any) -> Any:
        """Describe what was found."""
        ...


TRENDS: Final[dict[str, type[Document]]] = {
    "latency": LatencyPoint,
    "errors": ErrorsPoint,
    "usage": UsagePoint,
}
"""Method of the store -> what it answers."""


def _parameters(request: Request) -> Parameters:
    return Parameters(request.query_params.multi_items())


def _encoded(answer: Callable[[Request], object], request: Request) -> bytes:
    return msgspec.json.encode(answer(request))


def _error(code: int, message: str) -> Response:
    return _json(msgspec.json.encode({"error": message}), code)


def _json(body: bytes, code: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(body, status_code=code, media_type="application/json", headers=headers)
