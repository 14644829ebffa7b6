"""`Server`: OTLP over HTTP and gRPC, the journal, the consumer, and their order of life."""

import asyncio
import logging
import os
from contextlib import ExitStack
from typing import Any, Final

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Route

from tocsin.api.budgets import BudgetRoutes
from tocsin.api.events import EventRoutes
from tocsin.api.health import Lifecycle, Phase, health_routes
from tocsin.api.intake import Intake
from tocsin.api.otlp import otlp_routes
from tocsin.api.otlp_grpc import GrpcReceiver
from tocsin.api.runs import RunRoutes
from tocsin.api.slas import SlaRoutes
from tocsin.meters.exposition import RegistryCollector
from tocsin.meters.registry import Registry
from tocsin.model.address import Address
from tocsin.serve.consumer import Backpressure, Consumer
from tocsin.serve.health import ServerMeters
from tocsin.serve.listen import HttpServer, listen
from tocsin.serve.options import ServerOptions
from tocsin.serve.wiring import Wire
from tocsin.store.dead import DeadLetters
from tocsin.store.journal import Journal
from tocsin.store.lock import DirectoryLock

__all__ = ["Server"]

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0


class Server:
    """Everything between the senders and the store, in one event loop and a few threads.

    Raises TocsinError where an address or the data directory cannot be had.
    """

    def __init__(self, options: ServerOptions, wire: Wire) -> None:
        self._options = options
        self._lifecycle = Lifecycle()
        self._registry = Registry()
        with ExitStack() as opened:
            self._open(wire, opened)
            self._opened = opened.pop_all()
        self._consumer: Consumer[Any] = Consumer(
            self._journal, self.wiring.store, self.wiring.process, self._dead
        )
        self._intake = self._make_intake()
        self._http: list[HttpServer] = []
        self._grpc: GrpcReceiver | None = None
        self.addresses: dict[str, Address] = {}
        """Where it listens, by purpose; the real ports."""

    async def start(self) -> None:
        """Listen on every address, then answer. Raises ConfigError if one cannot be had."""
        options = self._options
        otlp = otlp_routes(self._intake)
        self._bind("HTTP", options.listen, [*otlp, *self._health_routes(), *self._asked])
        self._bind("OTLP/HTTP", options.otlp_http, otlp)
        self._grpc = GrpcReceiver(self._intake)
        port = self._grpc.bind(*options.otlp_grpc)
        self.addresses["OTLP/gRPC"] = Address(options.otlp_grpc.host, port)
        self._consumer.start()
        for server in self._http:
            await server.start()
        await self._grpc.start()
        self._lifecycle.phase = Phase.READY
        logger.info("process %d is ready", os.getpid())

    async def stop(self) -> bool:
        """Take nothing new, process what is accepted within the drain's time, let go of all.

        Returns False if some of it is left for the next start.
        """
        self._lifecycle.phase = Phase.STOPPING
        self._intake.close()
        stops = [server.stop() for server in self._http]
        if self._grpc is not None:
            stops.append(self._grpc.stop(GRACE_S))
        await asyncio.gather(*stops)
        return await asyncio.to_thread(self._close)

    def _close(self) -> bool:
        done = self._consumer.stop(self._options.drain_s)
        self._opened.close()
        return done

    def _open(self, wire: Wire, opened: ExitStack) -> None:
        options = self._options
        opened.callback(DirectoryLock(options.data).release)
        self.wiring = wire(options.settings, options.data, self._registry)
        opened.callback(self.wiring.close)
        self._asked = self._question_routes(opened)
        self._journal = Journal(
            options.data / "journal",
            position=self.wiring.store.position(),
            max_bytes=options.journal_bytes,
        )
        opened.callback(self._journal.close)
        self._dead = DeadLetters(options.data / "dead")

    def _question_routes(self, opened: ExitStack) -> list[Route]:
        reader = self.wiring.reader
        if reader is None:
            return []
        runs = RunRoutes(reader)
        opened.callback(runs.close)
        routes = [*runs.routes, *SlaRoutes(reader, self.wiring.slas, runs.answering).routes]
        if self.wiring.events is not None:
            routes += EventRoutes(self.wiring.events, runs.answering).routes
        if self.wiring.budgets is not None:
            budgets = BudgetRoutes(self.wiring.budgets)
            opened.callback(budgets.close)
            routes += budgets.routes
        return routes

    def _bind(self, purpose: str, address: Address, routes: list[Route]) -> None:
        server = HttpServer(Starlette(routes=routes), listen(address, purpose))
        self._http.append(server)
        self.addresses[purpose] = server.address

    def _make_intake(self) -> Intake:
        # What is processed but not yet trimmed, since a run goes on, is no reason to wait.
        behind = Backpressure(
            lambda: self._journal.bytes_after(self._consumer.position),
            high_bytes=self._options.high_bytes,
        )
        return Intake(
            self._journal,
            self._registry,
            self.wiring.check,
            refusal=behind.refusal,
            body_limit=self._options.body_limit,
        )

    def _health_routes(self) -> list[Route]:
        meters = ServerMeters(self._registry, self._journal, self._consumer)
        collectors = CollectorRegistry()
        collectors.register(RegistryCollector(meters.families))
        return health_routes(self._lifecycle, collectors)
