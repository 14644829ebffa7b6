"""Hand breaches and findings to the program's own alert service, without ever waiting for it."""

import asyncio
import inspect
import logging
import queue
import threading
from collections.abc import Mapping
from typing import Any, Final

from tocsin.app.worker import left_s
from tocsin.errors import ConfigError
from tocsin.meters.clients import SilentObserver
from tocsin.model.finding import Finding
from tocsin.model.run import Breach
from tocsin.runs.limits import ANY_WORKFLOW, WorkflowSLA

__all__ = ["AlertSink"]

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000


class AlertSink(SilentObserver):
    """Calls `alert_service.send(severity=, message=)`, plain or async, on a thread of its own.

    Breaches and findings of the workflows in `slas` are sent, those of hard limits always; where
    there are no `slas`, every finding is. A service that is slow delays only its own alerts; beyond
    MAX_WAITING they are dropped and counted. Failures are logged and counted.
    """

    sink = "alert_service"

    def __init__(self, service: Any, slas: Mapping[str, WorkflowSLA]) -> None:
        """Raises ConfigError where the service has no `send`."""
        if not callable(getattr(service, "send", None)):
            raise ConfigError(
                f"alert service {type(service).__name__} has no method send(severity=, message=)"
            )
        self._service = service
        self._workflows = frozenset(slas)
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Start over in a forked child: the parent sends its own alerts."""
        self._waiting: queue.Queue[Breach | Finding | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.failed = 0

    def breached(self, breach: Breach) -> None:
        """Queue an alert of a passed limit."""
        if breach.action != "alert" or self._workflows & {breach.workflow, ANY_WORKFLOW}:
            self._send(breach)

    def found(self, finding: Finding) -> None:
        """Queue an alert of a quality signal."""
        if not self._workflows or self._workflows & {finding.workflow, ANY_WORKFLOW}:
            self._send(finding)

    def _send(self, event: Breach | Finding) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tocsin-alerts", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def close(self, deadline_s: float) -> None:
        """Send what is waiting, until a deadline on `time.monotonic()`."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=left_s(deadline_s))
        except queue.Full:
            return
        self._thread.join(left_s(deadline_s))

    def _run(self) -> None:
        # One event loop for all alerts: the connections of an async service belong to it.
        loop = asyncio.Runner()
        while (event := self._waiting.get()) is not None:
            try:
                answer = self._service.send(severity=event.severity, message=event.message)
                if inspect.isawaitable(answer):
                    loop.run(_wait_for(answer))
            except BaseException as error:  # noqa: BLE001 - a foreign service may raise anything
                self.failed += 1
                logger.warning("alert not sent: %r: %s", error, event.message)
        loop.close()


async def _wait_for(answer: Any) -> None:
    await answer
