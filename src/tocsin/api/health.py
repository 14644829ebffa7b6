"""/-/healthy, /-/ready and /metrics, as Prometheus itself has them."""

from enum import Enum
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

__all__ = ["Lifecycle", "Phase", "health_routes"]

HEALTHY: Final = "Prometheus Server is Healthy.\n"
READY: Final = "Prometheus Server is Ready.\n"
NOT_READY: Final = "Service Unavailable"


class Phase(Enum):
    """Where in its life the server is."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Lifecycle:
    """The server's phase, for those who ask."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING


def health_routes(lifecycle: Lifecycle, registry: CollectorRegistry) -> list[Route]:
    """Return the routes, which answer GET and HEAD."""

    async def healthy(_: Request) -> Response:
        return PlainTextResponse(HEALTHY)

    async def ready(_: Request) -> Response:
        if lifecycle.phase is Phase.READY:
            return PlainTextResponse(READY)
        stopping = str(lifecycle.phase is Phase.STOPPING).lower()
        headers = {"X-Prometheus-Stopping": stopping}
        return PlainTextResponse(NOT_READY, status_code=503, headers=headers)

    def metrics(request: Request) -> Response:  # not async: Starlette runs it on a thread
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return [
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
        Route("/metrics", metrics),
    ]
