"""Budgets as JSON: /api/v1/budgets, and the leases that workers get of them."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import QueryError, StoreError
from tocsin.guard.leases import Claim, Grant, Terms, TooManyWorkersError
from tocsin.guard.wire import (
    BUDGETS_PATH,
    LEASES_PATH,
    BudgetDocument,
    BudgetsDocument,
    LeaseDocument,
    LeaseRequest,
    LeasesDocument,
)
from tocsin.model.moment import write_time

__all__ = ["BudgetRoutes", "Desk"]

logger = logging.getLogger(__name__)

BODY_LIMIT: Final = 256 << 10
BODY_S: Final = 10.0
MAX_WAITING: Final = 256
"""Requests; a worker whose request is refused asks again."""
RETRY_AFTER_S: Final = "1"


class Desk(Protocol):
    """Who knows the budgets. Raises StoreError."""

    @property
    def terms(self) -> Terms:
        """How leases are given out."""
        ...

    def documents(self) -> list[BudgetDocument]:
        """Describe every budget in its current period."""
        ...

    def lease(self, claims: Sequence[Claim]) -> list[Grant]:
        """Answer claims once what is granted is on disk; one thread at a time."""
        ...


class BudgetRoutes:
    """Answers from a desk, on a thread of its own, where requests wait in a line."""

    def __init__(self, desk: Desk, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._desk = desk
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="budgets")
        self._waiting = 0
        self.routes: Final = [
            Route(BUDGETS_PATH, self._show),
            Route(LEASES_PATH, self._lease, methods=["POST"]),
        ]

    def close(self) -> None:
        """Let go of the thread; what waits is not answered."""
        self._thread.shutdown(cancel_futures=True)

    async def _show(self, request: Request) -> Response:
        if request.query_params:
            return _error(400, "budgets take no parameters")
        return await self._in_line(self._describe)

    async def _lease(self, request: Request) -> Response:
        try:
            body = await _read(request)
        except QueryError as error:
            return _error(413, str(error))
        except TimeoutError:
            return _error(408, f"the body did not arrive within {BODY_S:g} s")
        except ClientDisconnect:
            return Response(status_code=499)
        return await self._in_line(lambda: self._answer(body))

    async def _in_line(self, work: "Work") -> Response:
        if self._waiting >= MAX_WAITING:
            return _error(503, "too many requests are waiting; ask again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return _json(await loop.run_in_executor(self._thread, work))
        except QueryError as error:
            return _error(400, str(error))
        except TooManyWorkersError:
            return _error(429, "more workers hold leases than can be told apart; ask again later")
        except StoreError as error:
            return _error(503, str(error))
        finally:
            self._waiting -= 1

    def _describe(self) -> bytes:
        now = write_time(self._clock.wall_ns())
        return msgspec.json.encode(BudgetsDocument(now=now, budgets=self._desk.documents()))

    def _answer(self, body: bytes) -> bytes:
        try:
            asked = msgspec.json.decode(body, type=LeaseRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise QueryError(f"this is no request for leases: {error}") from error
        claims = [entry.claim(asked.worker, asked.seq) for entry in asked.budgets]
        named = {(claim.budget, claim.period_ns) for claim in claims}
        if len(named) < len(claims):
            raise QueryError("budgets: one is named twice for the same period")
        grants = self._desk.lease(claims)
        return msgspec.json.encode(
            LeasesDocument(
                seq=asked.seq,
                now=write_time(self._clock.wall_ns()),
                expires_s=self._desk.terms.expiry_s,
                budgets=[
                    LeaseDocument.of(entry, grant)
                    for entry, grant in zip(asked.budgets, grants, strict=True)
                ],
            )
        )


class Work(Protocol):
    """What is done on the thread."""

    def __call__(self) -> bytes:
        """Return JSON."""
        ...


async def _read(request: Request) -> bytes:
    """Read a body. Raises QueryError where it is too large."""
    pieces: list[bytes] = []
    size = 0
    async with asyncio.timeout(BODY_S):
        async for piece in request.stream():
            size += len(piece)
            if size > BODY_LIMIT:
                raise QueryError(f"the body has more than {BODY_LIMIT} bytes")
            pieces.append(piece)
    return b"".join(pieces)


def _error(code: int, message: str) -> Response:
    response = _json(msgspec.json.encode({"error": message}), code)
    if code in (429, 503):
        response.headers["retry-after"] = RETRY_AFTER_S
    return response


def _json(body: bytes, code: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(body, status_code=code, media_type="application/json", headers=headers)
