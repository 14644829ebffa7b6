"""Runs, conversations and trends as JSON, read-only: /api/v1/runs, /conversations, /trends."""

import functools
from typing import Any, Final, Protocol

from starlette.requests import Request

from tocsin.api.answering import TIMEOUT_S, Answering, Unknown, parameters_of
from tocsin.api.documents import (
    ConversationDocument,
    ErrorsPoint,
    LatencyPoint,
    RunsDocument,
    RunViewDocument,
    UsagePoint,
)
from tocsin.api.parameters import (
    conversation_limit,
    run_query,
    span_limit,
    trend_question,
)
from tocsin.api.run_ids import find_run
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import QueryError
from tocsin.store.base import RunReader

__all__ = ["RunRoutes"]

MAX_POINTS: Final = 10_000


class RunRoutes:
    """Answers from a store.

    store: asked from several threads at once; raises StoreError where a question takes too long.
    """

    def __init__(
        self, store: RunReader, *, clock: Clock = SYSTEM_CLOCK, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._store = store
        self._clock = clock
        self.answering = Answering(timeout_s)
        route = self.answering.route
        self.routes: Final = [
            route("/api/v1/runs", self._runs),
            route("/api/v1/runs/{run_id}", self._run),
            route("/api/v1/conversations/{conversation_id:path}", self._conversation),
            *(
                route(f"/api/v1/trends/{name}", functools.partial(self._trend, name))
                for name in TRENDS
            ),
        ]

    def close(self) -> None:
        """Let go of the threads; questions that go on are waited for, others dropped."""
        self.answering.close()

    def _runs(self, request: Request) -> RunsDocument:
        query = run_query(parameters_of(request), self._clock.wall_ns())
        return RunsDocument.of(self._store.runs(query))

    def _run(self, request: Request) -> RunViewDocument:
        limit = span_limit(parameters_of(request))
        asked = request.path_params["run_id"]
        view = find_run(self._store, asked)
        if view is None:
            raise Unknown(f"there is no run {asked[:100]!r}")
        return RunViewDocument.of(view, limit)

    def _conversation(self, request: Request) -> ConversationDocument:
        limit = conversation_limit(parameters_of(request))
        asked = request.path_params["conversation_id"]
        found = self._store.conversation(asked, limit=limit)
        if found is None:
            raise Unknown(f"there is no conversation {asked[:100]!r}")
        return ConversationDocument.of(found)

    def _trend(self, name: str, request: Request) -> dict[str, object]:
        question = trend_question(parameters_of(request), self._clock.wall_ns())
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
