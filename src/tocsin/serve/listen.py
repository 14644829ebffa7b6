"""Addresses to listen on, and the HTTP server behind each."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette

from tocsin.errors import ConfigError
from tocsin.model.address import Address

__all__ = ["HttpServer", "listen"]

STOP_S: Final = 5
IDLE_CONNECTION_S: Final = 75
"""Longer than senders keep connections without use, or closing one races with a request."""


def listen(address: Address, purpose: str) -> socket.socket:
    """Bind and listen. Raises ConfigError."""
    # Not socket.create_server: asyncio sets TCP_NODELAY only where the protocol number is explicit,
    # and without it every answer waits 40 ms for the client's delayed ACK.
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        family, kind, _, _, place = found[0]
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address} ({purpose}): {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {address} ({purpose}): {error.strerror}") from error
    return listener


class HttpServer:
    """uvicorn on one listening socket, in the running event loop."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=IDLE_CONNECTION_S,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> Address:
        """Where it listens, the real port."""
        return Address(*self._listener.getsockname()[:2])

    async def start(self) -> None:
        """Return when requests are answered."""
        self._task = asyncio.create_task(self._server.serve([self._listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Close the port, and end when what goes on is answered."""
        self._server.should_exit = True
        if self._task is None:
            self._listener.close()
        else:
            await self._task


class _Uvicorn(uvicorn.Server):
    """uvicorn, leaving the signals to whoever runs several of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
