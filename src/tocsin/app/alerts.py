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
from tocsin.guard.budget_events import BudgetEvent
from tocsin.meters import catalogue as m
from tocsin.meters.clients import SilentObserver
from tocsin.meters.registry import Readings
from tocsin.model.finding import Finding
from tocsin.model.run import BUDGET_LIMIT, Breach
from tocsin.runs.limits import ANY_WORKFLOW, WorkflowSLA

__all__ = ["AlertSink", "AlertSinks"]

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000


class AlertSink(SilentObserver):
    """Calls `alert_service.send(severity=, message=)`, plain or async, on a thread of its own.

    Breaches and findings of the workflows in `slas` are sent, those of hard limits and of budgets
    always; where there are no `slas`, every finding is. A service that is slow delays only its own
    alerts; beyond MAX_WAITING they are dropped and counted. Failures are logged and counted.
    """

    sink = "alert_service"

    def __init__(self, service: Any, slas: Mapping[str, WorkflowSLA]) -> None:
        """Raises ConfigError where the service has no `send`."""
        if not callable(getattr(service, "send", None)):
            raise ConfigError(
                f"alert service {type(service).__name__} has no method send(severity=, message=)"
            )
        self.service = service
        self._workflows = frozenset(slas)
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Start over in a forked child: the parent sends its own alerts."""
        self._waiting: queue.Queue[Breach | Finding | BudgetEvent | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.failed = 0

    def breached(self, breach: Breach) -> None:
        """Queue an alert of a passed limit."""
        if breach.limit.startswith(BUDGET_LIMIT):
            return  # a budget tells once for all the runs that it stops
        if breach.action != "alert" or self._workflows & {breach.workflow, ANY_WORKFLOW}:
            self._send(breach)

    def budget(self, event: BudgetEvent) -> None:
        """Queue an alert of a budget."""
        self._send(event)

    def found(self, finding: Finding) -> None:
        """Queue an alert of a quality signal."""
        if not self._workflows or self._workflows & {finding.workflow, ANY_WORKFLOW}:
            self._send(finding)

    def _send(self, event: Breach | Finding | BudgetEvent) -> None:
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
                answer = self.service.send(severity=event.severity, message=event.message)
                if inspect.isawaitable(answer):
                    loop.run(_wait_for(answer))
            except BaseException as error:  # noqa: BLE001 - a foreign service may raise anything
                self.failed += 1
                logger.warning("alert not sent: %r: %s", error, event.message)
        loop.close()


async def _wait_for(answer: Any) -> None:
    await answer


class AlertSinks:
    """All alert services of a watcher."""

    def __init__(self) -> None:
        self._sinks: list[AlertSink] = []

    def add(self, service: Any, slas: Mapping[str, WorkflowSLA]) -> AlertSink:
        """Return a sink for a service, which has yet to observe; raises ConfigError."""
        sink = AlertSink(service, slas)
        self._sinks.append(sink)
        return sink

    def has(self, service: Any) -> bool:
        """Whether a service has a sink already."""
        return any(sink.service is service for sink in self._sinks)

    def budget(self, event: BudgetEvent) -> None:
        """Tell every service of a budget."""
        for sink in self._sinks:
            sink.budget(event)

    def totals(self) -> Readings:
        """Alerts that were not sent, as metrics."""
        return {
            (m.ALERTS_DROPPED, ()): sum(sink.dropped for sink in self._sinks),
            (m.SINK_ERRORS, (AlertSink.sink,)): sum(sink.failed for sink in self._sinks),
        }

    def close(self, deadline_s: float) -> None:
        """Send what is waiting, until a deadline on `time.monotonic()`."""
        for sink in self._sinks:
            sink.close(deadline_s)

    def reset_after_fork(self) -> None:
        """Start over in a forked child."""
        for sink in self._sinks:
            sink.reset_after_fork()
