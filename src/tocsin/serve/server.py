"""`Server`: OTLP over HTTP and gRPC, the journal, the consumer, and their order of life."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from tocsin.api.health import Lifecycle, Phase, health_routes
from tocsin.api.intake import BODY_LIMIT, Intake
from tocsin.api.otlp import otlp_routes
from tocsin.api.otlp_grpc import GrpcReceiver
from tocsin.api.runs import RunRoutes
from tocsin.meters.exposition import RegistryCollector
from tocsin.meters.registry import Registry
from tocsin.serve.consumer import Backpressure, Consumer
from tocsin.serve.health import ServerMeters
from tocsin.serve.listen import Address, HttpServer, listen
from tocsin.serve.wiring import Wire
from tocsin.store.dead import DeadLetters
from tocsin.store.journal import MAX_BYTES, Journal
from tocsin.store.lock import DirectoryLock

__all__ = ["Server", "ServerOptions"]

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `tocsin serve` is told."""

    data: Path
    config: Path | None = None
    listen: Address = Address("127.0.0.1", 8001)
    otlp_http: Address = Address("127.0.0.1", 4318)
    otlp_grpc: Address = Address("127.0.0.1", 4317)
    body_limit: int = BODY_LIMIT
    journal_bytes: int = MAX_BYTES
    drain_s: float = 10.0
    """How long a stop may take to process what is accepted."""

    @property
    def high_bytes(self) -> int:
        """Waiting bytes from which on senders are told to wait."""
        return self.journal_bytes // 2


class Server:
    """Everything between the senders and the store, in one event loop and a few threads.

    Raises TocsinError where an address or the data directory cannot be had.
    """

    def __init__(self, options: ServerOptions, wire: Wire) -> None:
        self._options = options
        self._lifecycle = Lifecycle()
        self._lock = DirectoryLock(options.data)
        self._registry = Registry()
        self.wiring = wire(options.config, options.data, self._registry)
        self._journal = Journal(
            options.data / "journal",
            position=self.wiring.store.position(),
            max_bytes=options.journal_bytes,
        )
        dead = DeadLetters(options.data / "dead")
        self._consumer: Consumer[Any] = Consumer(
            self._journal, self.wiring.store, self.wiring.process, dead
        )
        self._intake = self._make_intake()
        reader = self.wiring.reader
        self._run_routes = None if reader is None else RunRoutes(reader)
        self._http: list[HttpServer] = []
        self._grpc: GrpcReceiver | None = None
        self.addresses: dict[str, Address] = {}
        """Where it listens, by purpose; the real ports."""

    async def start(self) -> None:
        """Listen on every address, then answer. Raises ConfigError if one cannot be had."""
        options = self._options
        listeners = {
            "HTTP": listen(options.listen, "--listen"),
            "OTLP/HTTP": listen(options.otlp_http, "--otlp-http"),
        }
        self._grpc = GrpcReceiver(self._intake)
        port = self._grpc.bind(*options.otlp_grpc)
        own = [*otlp_routes(self._intake), *self._health_routes()]
        if self._run_routes is not None:
            own += self._run_routes.routes
        apps = (Starlette(routes=own), Starlette(routes=otlp_routes(self._intake)))
        self._http = [
            HttpServer(app, listener)
            for app, listener in zip(apps, listeners.values(), strict=True)
        ]
        self._consumer.start()
        for purpose, server in zip(listeners, self._http, strict=True):
            self.addresses[purpose] = server.address
            await server.start()
        await self._grpc.start()
        self.addresses["OTLP/gRPC"] = Address(options.otlp_grpc.host, port)
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
        self._journal.close()
        if self._run_routes is not None:
            self._run_routes.close()
        self.wiring.close()
        self._lock.release()
        return done

    def _make_intake(self) -> Intake:
        behind = Backpressure(
            lambda: self._journal.backlog_bytes, high_bytes=self._options.high_bytes
        )
        return Intake(
            self._journal,
            self._registry,
            self.wiring.check,
            refusal=behind.refusal,
            body_limit=self._options.body_limit,
        )

    def _health_routes(self) -> list[Any]:
        meters = ServerMeters(self._registry, self._journal, self._consumer)
        collectors = CollectorRegistry()
        collectors.register(RegistryCollector(meters.families))
        return list(health_routes(self._lifecycle, collectors))
