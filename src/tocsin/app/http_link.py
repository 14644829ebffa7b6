"""Requests over one HTTP connection that is kept, with the time bounded that each may take."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tocsin.errors import ConfigError

__all__ = ["HttpLink", "Request", "Response", "Target", "parse_headers", "parse_target"]

TIMEOUT_S: Final = 10.0
OUTDATED: Final = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)
"""What a kept connection shows that the other side closed while nobody used it."""
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OURS: Final = frozenset({"content-type", "content-encoding", "content-length", "host"})


class Target(NamedTuple):
    """Where to send; `str` of it is fit for logs."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_target(url: object, *, setting: str, example: str) -> Target:
    """Read a server's address. Raises ConfigError, which names the setting."""
    advice = f"write {example} or https://HOST"
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{setting}: {type(url).__name__} is no address; {advice}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}; {advice}") from None
    if "@" in parts.netloc:
        raise ConfigError(
            f"{setting}: the address holds a password; write it as"
            ' export_headers={"authorization": …}'
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{setting}: {url!r} is no http address; {advice}")
    if parts.query or parts.fragment:
        raise ConfigError(f"{setting}: leave out what begins with ? or #; {advice}")
    port = port or (443 if parts.scheme == "https" else 80)
    return Target(parts.scheme, host, port, parts.path.rstrip("/"))


def parse_headers(headers: object) -> dict[str, str]:
    """Check the headers to send along. Raises ConfigError, which never shows a value."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigError(
            f'export_headers: {type(headers).__name__} is no mapping; write {{"name": "value"}}'
        )
    for name, value in headers.items():
        if not isinstance(name, str) or TOKEN.fullmatch(name) is None or name.lower() in OURS:
            raise ConfigError(f"export_headers: {name!r} cannot be a header's name here")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ConfigError(f"export_headers[{name!r}]: write printable ASCII text")
    return dict(headers)


class Request(NamedTuple):
    """What is sent; headers besides those of the link."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}


class Response(NamedTuple):
    """What came back: at most as much of the content as was asked for."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class HttpLink:
    """Makes requests one after another. One thread asks; any may `abort_late`."""

    def __init__(self, target: Target, headers: Mapping[str, str]) -> None:
        """headers: sent with every request."""
        self._target = target
        self._headers = {"User-Agent": "tocsin", **headers}
        self._connection: http.client.HTTPConnection | None = None
        self._deadline_s: float | None = None

    def ask(self, request: Request, max_bytes: int, timeout_s: float = TIMEOUT_S) -> Response:
        """Send a request. Raises OSError or HTTPException where there is no answer."""
        self._deadline_s = time.monotonic() + timeout_s
        is_reused = self._connection is not None
        try:
            try:
                return self._exchange(request, max_bytes, timeout_s)
            except OUTDATED:
                self.close()
                if not is_reused:
                    raise
                return self._exchange(request, max_bytes, timeout_s)
        except BaseException:
            self.close()
            raise
        finally:
            self._deadline_s = None

    def abort_late(self, now_s: float) -> None:
        """End an exchange that takes too long altogether: a socket's timeout is for each read."""
        connection, deadline_s = self._connection, self._deadline_s
        if deadline_s is not None and now_s > deadline_s and connection is not None:
            sock: Any = getattr(connection, "sock", None)
            if sock is not None:
                with contextlib.suppress(OSError):
                    # The plain one: TLS' own would wait for the other side.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; the next body opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def forget(self) -> None:
        """Let go of the connection in a forked child, whose parent goes on using it.

        Only the file is closed: the thread that may have held any of the locks is not here.
        """
        sock: Any = getattr(self._connection, "sock", None)
        self._connection = None
        if sock is not None:
            with contextlib.suppress(OSError):
                os.close(sock.detach())

    def _exchange(self, request: Request, max_bytes: int, timeout_s: float) -> Response:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect(timeout_s)
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        headers = {**self._headers, **request.headers}
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        content = response.read(max_bytes)
        if not response.isclosed():
            self.close()
        return Response(response.status, response.headers, content)  # type: ignore[arg-type]

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        target = self._target
        if target.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                target.host, target.port, timeout=timeout_s, context=context
            )
        return http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
