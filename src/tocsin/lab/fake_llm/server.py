"""`FakeLLM`: the fake server, in a thread of its own."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tocsin.lab.fake_llm.behaviours import answer
from tocsin.lab.fake_llm.delivery import TRANSPORT
from tocsin.lab.fake_llm.endpoints import Endpoints, Status
from tocsin.lab.fake_llm.script import Behaviour, Request

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_KEEP_ALIVE_S = 600
"""Longer than clients keep idle connections, or closing one races with its next request."""


class FakeLLM:
    """An OpenAI-compatible server whose answers are scripted.

    >>> with FakeLLM(answer("Hello.")) as llm:
    ...     client = AsyncOpenAI(base_url=llm.base_url, api_key="x")
    """

    def __init__(
        self,
        default: Behaviour | None = None,
        *,
        models: Mapping[str, Behaviour] | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        recorded: int = 1000,
    ) -> None:
        """Prepare a server; nothing is opened before `start`.

        default: for models without a behaviour of their own; answers "ok" when not given.
        seed: same seed and same calls, same replies. port: 0 picks a free one.
        recorded: how many requests `requests` keeps.
        """
        default = default or answer("ok")
        self._endpoints = Endpoints(default, models or {}, seed=seed, recorded=recorded)
        self._address = (host, port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """What to give to a client as `base_url`. Kept after `stop`, so a restart finds it."""
        host, port = self._address
        return f"http://{host}:{port}/v1"

    @property
    def requests(self) -> tuple[Request, ...]:
        """The latest requests, oldest first."""
        return tuple(self._endpoints.requests)

    @property
    def counts(self) -> Counter[tuple[str, Status]]:
        """Replies so far by (model, status): an HTTP status, "hang", "drop", "broken", "failed"."""
        return self._endpoints.counts.copy()

    def set(self, model: str | None, behaviour: Behaviour) -> None:
        """Change what a model does from its next call on; None changes the default."""
        if model is None:
            self._endpoints.default = behaviour
        else:
            self._endpoints.models[model] = behaviour

    def start(self) -> Self:
        """Listen, and return when requests are answered. Raises OSError if the port is taken."""
        if self._thread is not None:
            raise RuntimeError("this FakeLLM is already running")
        listener = _listen(*self._address)
        self._address = listener.getsockname()[:2]
        server = _Server(self._endpoints)
        thread = threading.Thread(
            target=server.run, args=([listener],), name="fake-llm", daemon=True
        )
        thread.start()
        if not server.ready.wait(_START_TIMEOUT_S):
            raise RuntimeError("the fake LLM server did not start; see the log")
        self._server, self._thread = server, thread
        return self

    def stop(self) -> None:
        """Close the port and every connection, answered or not. Does nothing when not running."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join(_STOP_TIMEOUT_S)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    # Not socket.create_server: asyncio sets TCP_NODELAY only where the protocol number is explicit,
    # and without it every answer waits 40 ms for the client's delayed ACK.
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn, saying when it is ready, and stopping at once instead of gracefully."""

    def __init__(self, endpoints: Endpoints) -> None:
        # access_log=False would silence the access log of every uvicorn in this process.
        super().__init__(
            uvicorn.Config(
                endpoints.app(),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Have the server's thread end; safe from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the aborted transports close their sockets in this turn
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_STOP_TIMEOUT_S / 2)


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets a response close its connection, and keeps no access log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
