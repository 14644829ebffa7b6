"""The HTTP face of the fake server: decode, ask the behaviour, deliver."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tocsin.lab.fake_llm import wire_chat, wire_responses
from tocsin.lab.fake_llm.conversation import Conversation, Intake
from tocsin.lab.fake_llm.delivery import Delivery
from tocsin.lab.fake_llm.script import (
    Api,
    Behaviour,
    BreakStream,
    Drop,
    Failure,
    Hang,
    Reply,
    Request,
    StreamFailure,
)
from tocsin.lab.fake_llm.wire_errors import error_body

Status = int | str
"""An HTTP status, or "hang", "drop", "broken" or "failed" where that tells more."""

logger = logging.getLogger(__name__)


class Endpoints:
    """The behaviours in force and a record of what was asked. Used by one event loop."""

    def __init__(
        self, default: Behaviour, models: Mapping[str, Behaviour], *, seed: int, recorded: int
    ) -> None:
        """recorded: how many requests are kept, the oldest dropped first."""
        self.default = default
        self.models = dict(models)
        self.requests: deque[Request] = deque(maxlen=recorded)
        self.counts: Counter[tuple[str, Status]] = Counter()
        self._intake = Intake(seed)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", self._list_models, methods=["GET"]),
            ]
        )

    async def _responses(self, http: HttpRequest) -> Response | Delivery:
        return await self._complete(http, "responses", wire_responses.conversation)

    async def _chat(self, http: HttpRequest) -> Response | Delivery:
        return await self._complete(http, "chat", wire_chat.conversation)

    async def _list_models(self, http: HttpRequest) -> Response:
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": "tocsin"}
            for name in sorted(self.models)
        ]
        return JSONResponse({"object": "list", "data": rows})

    async def _complete(
        self, http: HttpRequest, api: Api, read: Callable[[Mapping[str, Any]], Conversation]
    ) -> Response | Delivery:
        try:
            body = msgspec.json.decode(await http.body(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            return _bad_request(f"The body is not a JSON object: {error}")
        if not isinstance(body.get("model"), str):
            return _bad_request("You must provide a model parameter.")
        request = self._intake.request(api, body, read(body))
        self.requests.append(request)
        reply = self._reply(request)
        self._intake.remember(request, reply)
        self.counts[request.model, _status(reply)] += 1
        return Delivery(reply, request)

    def _reply(self, request: Request) -> Reply:
        behaviour = self.models.get(request.model, self.default)
        try:
            return behaviour(request)
        except Exception as error:
            logger.exception("behaviour for model %r failed; answering 500", request.model)
            return Failure(500, message=f"The behaviour raised {type(error).__name__}: {error}")


def _bad_request(message: str) -> Response:
    body = error_body(Failure(400, message=message))
    return Response(body, status_code=400, media_type="application/json")


def _status(reply: Reply) -> Status:
    match reply:
        case Failure(status):
            return status
        case Hang():
            return "hang"
        case Drop():
            return "drop"
        case BreakStream():
            return "broken"
        case StreamFailure():
            return "failed"
        case _:
            return 200
