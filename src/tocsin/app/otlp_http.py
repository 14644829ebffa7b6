"""POST OTLP/JSON to one address, over a connection that is kept."""

import contextlib
import email.utils
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from tocsin.errors import ConfigError

__all__ = ["Answer", "OtlpHttp", "Target", "parse_headers", "parse_target"]

TIMEOUT_S: Final = 10.0
MAX_ANSWER: Final = 65_536
"""Bytes of an answer that are read; one is a few dozen."""
PATH: Final = "/v1/traces"
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


class Answer(NamedTuple):
    """What a receiver answered. retry_after_s: as it asked for; rejected: spans it left out."""

    status: int
    retry_after_s: float | None
    rejected: int


def parse_target(url: object) -> Target:
    """Read a collector's address, with or without /v1/traces. Raises ConfigError."""
    example = "write http://HOST:4318 or https://HOST"
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"export_to: {type(url).__name__} is no address; {example}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"export_to: {error}; {example}") from None
    if "@" in parts.netloc:
        raise ConfigError(
            "export_to: the address holds a password; write it as"
            ' export_headers={"authorization": …}'
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"export_to: {url!r} is no http address; {example}")
    if parts.query or parts.fragment:
        raise ConfigError(f"export_to: leave out what begins with ? or #; {example}")
    path = parts.path.rstrip("/")
    path = path if path.endswith(PATH) else path + PATH
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


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


class OtlpHttp:
    """Sends bodies one after another. One thread posts; any may `abort`."""

    def __init__(self, target: Target, headers: Mapping[str, str]) -> None:
        self._target = target
        self._headers = {
            "User-Agent": "tocsin",
            **headers,
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        }
        self._connection: http.client.HTTPConnection | None = None
        self._deadline_s: float | None = None

    def post(self, body: bytes, timeout_s: float = TIMEOUT_S) -> Answer:
        """Send one gzipped body. Raises OSError or HTTPException where there is no answer."""
        self._deadline_s = time.monotonic() + timeout_s
        is_reused = self._connection is not None
        try:
            try:
                return self._exchange(body, timeout_s)
            except OUTDATED:
                self.close()
                if not is_reused:
                    raise
                return self._exchange(body, timeout_s)
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

    def _exchange(self, body: bytes, timeout_s: float) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect(timeout_s)
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._target.path, body, self._headers)
        response = connection.getresponse()
        content = response.read(MAX_ANSWER)
        if not response.isclosed():
            self.close()
        rejected = _rejected(content) if 200 <= response.status < 300 else 0
        return Answer(response.status, _retry_after_s(response.getheader("Retry-After")), rejected)

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        target = self._target
        if target.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                target.host, target.port, timeout=timeout_s, context=context
            )
        return http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)


class PartialSuccess(msgspec.Struct, rename="camel"):
    """What a receiver left out."""

    rejected_spans: int | str = 0


class ExportResponse(msgspec.Struct, rename="camel"):
    """ExportTraceServiceResponse."""

    partial_success: PartialSuccess | None = None


def _rejected(content: bytes) -> int:
    try:
        partial = msgspec.json.decode(content, type=ExportResponse).partial_success
        return 0 if partial is None else max(0, int(partial.rejected_spans))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0


def _retry_after_s(value: str | None) -> float | None:
    """Seconds to wait; the header holds seconds or a date."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
