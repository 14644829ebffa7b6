"""Serve /metrics over HTTP: on the port that was asked for, or on a free one."""

import errno
import logging
import os
import time
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server

__all__ = ["MetricsServer"]

logger = logging.getLogger(__name__)

RETRY_EVERY_S: Final = 2.0


class MetricsServer:
    """Answers in Prometheus' text format or OpenMetrics', as the scraper asks.

    If the port is in use, a free one is taken and one warning names it. Where several processes
    share their metrics, the port's owner speaks for all: the others wait, and one of them takes
    over when it goes.
    """

    def __init__(
        self, registry: CollectorRegistry, *, host: str, port: int, is_shared: bool
    ) -> None:
        self._registry = registry
        self._host = host
        self._wanted_port = port
        self._is_shared = is_shared
        self._server: Any = None
        self._retry_at_s = 0.0

    @property
    def port(self) -> int | None:
        """Port that this process answers on; None while another process has it."""
        return None if self._server is None else int(self._server.server_port)

    def ensure(self) -> None:
        """Listen, if this process does not yet. Never raises."""
        if self._server is not None or time.monotonic() < self._retry_at_s:
            return
        try:
            self._listen(self._wanted_port)
        except (OSError, OverflowError) as error:
            if self._is_shared and getattr(error, "errno", None) == errno.EADDRINUSE:
                self._retry_at_s = time.monotonic() + RETRY_EVERY_S
            else:
                self._listen_elsewhere(error)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def reset_after_fork(self) -> None:
        """Close the inherited socket: its thread, and the port, stayed with the parent."""
        self._retry_at_s = 0.0
        if self._server is not None:
            self._server.socket.close()
            self._server = None

    def _listen(self, port: int) -> None:
        self._server, _ = start_http_server(port, self._host, self._registry)

    def _listen_elsewhere(self, error: Exception) -> None:
        try:
            self._listen(0)
        except OSError as second:
            self._retry_at_s = float("inf")
            logger.warning("no /metrics: %s:%s: %s", self._host, self._wanted_port, second)
            return
        logger.warning(
            "port %s: %s; /metrics of process %s is on %s:%s",
            self._wanted_port,
            getattr(error, "strerror", None) or error,
            os.getpid(),
            self._host,
            self.port,
        )
