"""All parts wired together: from the SDK's callbacks to metrics and alerts."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from tocsin.app.alerts import AlertSinks
from tocsin.app.budget_client import BudgetClient
from tocsin.app.budgets import Budgets
from tocsin.app.export import SpanExporter
from tocsin.app.http_link import Target
from tocsin.app.lifetimes import live_and_die_with_process
from tocsin.app.metrics_server import MetricsServer
from tocsin.app.pipeline import Pipeline
from tocsin.app.queue import EventQueue
from tocsin.app.reader import EventReader
from tocsin.app.run_guard import LEDGER, GuardRoom
from tocsin.app.shared import SharedFamilies
from tocsin.app.stops import Stops, watch_runner_with
from tocsin.app.tariff import Tariff
from tocsin.app.worker import Worker, left_s
from tocsin.clock import SYSTEM_CLOCK
from tocsin.errors import ConfigError
from tocsin.guard.budget_account import BudgetRoom
from tocsin.guard.budgets import Budget, check_budgets
from tocsin.guard.limits import StopLimits
from tocsin.meters import catalogue as m
from tocsin.meters.exposition import RegistryCollector
from tocsin.meters.observer import Observer
from tocsin.meters.record import Recorder
from tocsin.meters.registry import Family, Readings, Registry
from tocsin.pricing.catalogue import PriceBook
from tocsin.quality.settings import OFF, Quality
from tocsin.quality.watch import QualityWatch
from tocsin.runs.limits import WorkflowSLA
from tocsin.sources.agents_sdk.events import Event
from tocsin.sources.agents_sdk.processor import EventProcessor

__all__ = ["Watcher"]

EXIT_DEADLINE_S: Final = 2.0
FLUSH_DEADLINE_S: Final = 5.0
EXPIRE_EVERY_S: Final = 1.0
LEARN_S: Final = 2.0
"""How long a program's start may wait for a server to tell its budgets."""


class Watcher:
    """Watches the Agents SDK in this process, with one queue, one worker and one registry.

    prices: overrides as in `pricing.rates.parse_overrides`. run_ttl_s: how long a run may be
    silent before it is given up as `unknown`. shared_dir: where several processes share their
    metrics. Raises ConfigError for wrong settings; later it never raises.
    """

    def __init__(
        self,
        *,
        prices: Mapping[str, Mapping[str, object]] | None = None,
        watch_runner: bool = True,
        run_ttl_s: float = 3600.0,
        queue_limit: int | None = None,
        shared_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if not run_ttl_s > 0:
            raise ConfigError(f"run_ttl_s: {run_ttl_s!r} is not a duration; write seconds above 0")
        self.registry = Registry()
        self.prices = PriceBook(prices)
        self.pipeline = Pipeline(self.prices, run_ttl_s=run_ttl_s)
        self._recorder = Recorder(self.registry)
        self.pipeline.add_observer(self._recorder)
        self._open_ttl_ns = int(run_ttl_s * 1e9)
        self.queue = EventQueue() if queue_limit is None else EventQueue(queue_limit)
        self.worker = Worker(self.queue, self._process, self._tick)
        self.processor = EventProcessor(self.emit, self.flush, self.queue, self.shutdown)
        self._shared = None if shared_dir is None else SharedFamilies(Path(shared_dir))
        self.collector = RegistryCollector(self.families)
        self.server: MetricsServer | None = None
        self.exposed_in: list[CollectorRegistry] = []
        self.is_closed = False
        self.exporter: SpanExporter | None = None
        self._leases: BudgetClient | None = None
        self._sinks = AlertSinks()
        tariff = Tariff(self.prices)
        self.budgets = Budgets(tariff, LEDGER, self._sinks.budget, is_shared=bool(self._shared))
        self._forget()
        self.stops = Stops(GuardRoom(tariff, SYSTEM_CLOCK), self.emit, self.budgets)
        self._unwatch_runner = watch_runner_with(self.emit, self.stops) if watch_runner else None
        live_and_die_with_process(self)

    def _forget(self) -> None:
        self.reader = EventReader(open_ttl_ns=self._open_ttl_ns)
        self.reader.decoder.data_times = self.pipeline.quality.settings.data_times
        self.reader.decoder.tag_names = self.budgets.tag_names
        self._exit_budget_s = EXIT_DEADLINE_S
        self._published: tuple[int, ...] = ()
        self._expire_at_s = 0.0

    def emit(self, event: Event) -> None:
        """Take an event from any thread; start the worker if this process has none yet."""
        self.queue.put(event)
        if not self.worker.running:
            self.worker.start()

    def families(self) -> list[Family]:
        """Every metric as it is now, of all processes where they share."""
        if self._shared is None:
            return self.registry.collect()
        return self._shared.merged(self.registry.collect)

    def add_observer(self, observer: Observer) -> None:
        """Tell another observer of everything from now on."""
        self.pipeline.add_observer(observer)

    def add_slas(self, slas: Mapping[str, WorkflowSLA], alert_service: Any = None) -> None:
        """Hold workflows to service levels; send their breaches to the service, if there is one.

        Raises ConfigError for values that are no WorkflowSLA and services that cannot send.
        """
        for workflow, sla in slas.items():
            if not isinstance(sla, WorkflowSLA):
                raise ConfigError(f"slas[{workflow!r}]: {sla!r} is not a tocsin.WorkflowSLA(…)")
        self.stops.add_slas(slas)
        if alert_service is not None:
            self.pipeline.add_observer(self._sinks.add(alert_service, slas))
        self.pipeline.add_slas(slas)
        for workflow, sla in slas.items():
            self._recorder.watch_limits(workflow, sla.limits)

    def add_stops(self, stops: Mapping[str, StopLimits], alert_service: Any = None) -> None:
        """Stop runs of workflows at hard limits; tell the service, if there is one.

        Raises ConfigError for limits below their workflow's service level, and where the runner,
        which alone can stop runs, is not watched.
        """
        if self._unwatch_runner is None:
            raise ConfigError("stops: runs can be stopped only with watch_runner=True")
        self.stops.add(stops)
        self.pipeline.slas.explain_also(stops)
        self._alert(alert_service)
        for workflow, rules in stops.items():
            for action in rules.actions:
                self._recorder.watch_limits(workflow, rules.limits, action)

    def add_budgets(
        self,
        budgets: Sequence[Budget],
        alert_service: Any = None,
        *,
        file: str | os.PathLike[str] | None = None,
        rooms: Mapping[str, BudgetRoom] | None = None,
    ) -> None:
        """Keep budgets of what calls cost; tell the service, if there is one.

        file: where spend outlives this process; with the first budgets only. rooms: what a server
        grants, by budget, in place of the limit. Raises ConfigError also where the runner, which
        alone can stop calls, is not watched.
        """
        check_budgets(budgets)
        if self._unwatch_runner is None and any(budget.stop_at for budget in budgets):
            raise ConfigError("budgets: calls can be stopped only with watch_runner=True")
        self._alert(alert_service)
        if budgets and not self.budgets.book.lines:
            self.pipeline.add_observer(self.budgets)
        self.budgets.add(budgets, rooms, file=file)
        self.reader.decoder.tag_names = self.budgets.tag_names
        self.worker.start()

    def lease_budgets(
        self, server: Target, headers: Mapping[str, str], *, timeout_s: float = LEARN_S
    ) -> bool:
        """Keep the budgets of a server, which other processes share.

        Waits until the server has told them, for timeout_s; False where it has not: runs that begin
        before it does are held to none of them. Raises ConfigError where the runner, which alone
        can stop calls, is not watched.
        """
        if self._unwatch_runner is None:
            raise ConfigError("budgets_from: calls can be stopped only with watch_runner=True")
        client = self._leases = BudgetClient(server, headers, self._add_leased, LEDGER)
        if self.exporter is not None:
            self.exporter.delivery.leases_budgets = True
        self.worker.start()
        return client.start(timeout_s)

    def _add_leased(self, budgets: Sequence[Budget], rooms: Mapping[str, BudgetRoom]) -> None:
        self.add_budgets(budgets, rooms=rooms)

    def watch_quality(self, quality: Quality | None) -> None:
        """Hold runs to other thresholds of quality; None: to none. Raises ConfigError."""
        if quality is not None and not isinstance(quality, Quality):
            raise ConfigError(f"quality: {quality!r} is not a tocsin.Quality(…) or None")
        settings = OFF if quality is None else quality
        self.pipeline.quality = QualityWatch(settings)
        self._recorder.watch_signals(settings.signals)
        self.reader.decoder.data_times = settings.data_times

    def export(self, exporter: SpanExporter) -> None:
        """Send every span from now on to a server."""
        self.exporter = exporter
        exporter.delivery.leases_budgets = self._leases is not None
        self.pipeline.add_observer(exporter)

    def serve_metrics(self, registry: CollectorRegistry, *, host: str, port: int) -> None:
        """Answer /metrics over HTTP."""
        is_shared = self._shared is not None
        self.server = MetricsServer(registry, host=host, port=port, is_shared=is_shared)
        self.server.ensure()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that happened so far is counted and exported.

        False if time (5 s) ran out, or the server that it is exported to is away.
        """
        deadline_s = time.monotonic() + (FLUSH_DEADLINE_S if timeout_s is None else timeout_s)
        self._published = ()
        self.budgets.hurry()
        done = self.worker.flush(left_s(deadline_s))
        if self.exporter is not None:
            done = self.exporter.delivery.flush(left_s(deadline_s)) and done
        if self._shared is not None:
            self._shared.publish(self.registry.collect, now=True)
        return done

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Flush as the program ends: however often this is asked for, the wait is 2 s in all."""
        started_s = time.monotonic()
        if not self.flush(min(self._exit_budget_s, timeout_s or EXIT_DEADLINE_S)):
            self._exit_budget_s = max(0.0, self._exit_budget_s + started_s - time.monotonic())

    def close(self, timeout_s: float | None = None) -> bool:
        """Count and send what is left, within a deadline (2 s), and let go of everything."""
        if self.is_closed:
            return True
        self.is_closed = True
        if self._unwatch_runner is not None:
            self._unwatch_runner()
        deadline = time.monotonic() + (self._exit_budget_s if timeout_s is None else timeout_s)
        done = self.worker.close(deadline)
        self.budgets.close()
        if self._leases is not None:
            self._leases.close(deadline)
        if self.exporter is not None:
            self.exporter.delivery.finish()
        self._sinks.close(deadline)
        if self.exporter is not None:
            self.exporter.delivery.close(deadline)
        if self._shared is not None:
            self._shared.publish(self.registry.collect, now=True)
            self._shared.close()
        if self.server is not None:
            self.server.close()
        for registry in self.exposed_in:
            registry.unregister(self.collector)
        self.exposed_in.clear()
        return done

    def reset_after_fork(self) -> None:
        """Start from nothing in a forked child; the parent goes on with what it had."""
        self._forget()
        self.pipeline.forget()
        self.budgets.reset_after_fork()
        if self._leases is not None:
            self._leases.reset_after_fork()
        self.stops.room.reset_after_fork()
        self.queue.reset_after_fork()
        self.worker.reset_after_fork()
        self.registry.reset_after_fork()
        self._sinks.reset_after_fork()
        if self.exporter is not None:
            self.exporter.reset_after_fork()
        if self._shared is not None:
            self._shared.reset_after_fork()
        if self.server is not None:
            self.server.reset_after_fork()

    def _alert(self, service: Any) -> None:
        """Tell a service of hard limits and budgets, unless it hears of them already."""
        if service is not None and not self._sinks.has(service):
            self.pipeline.add_observer(self._sinks.add(service, {}))

    def _process(self, event: Event) -> None:
        record = self.reader.read(event)
        if record is not None:
            self.pipeline.feed(record)

    def _tick(self) -> None:
        self.pipeline.sweep()
        self.budgets.tick()
        if self._leases is not None:
            self._leases.tick()
        if self.exporter is not None:
            self.exporter.delivery.tick()
        now_s = time.monotonic()
        if now_s >= self._expire_at_s:
            self._expire_at_s = now_s + EXPIRE_EVERY_S
            self.reader.decoder.expire(time.monotonic_ns())
            if self.server is not None:
                self.server.ensure()
        elif self._published == self._state():
            return
        self._published = self._state()
        self._publish()

    def _state(self) -> tuple[int, ...]:
        """Changes with everything that a page of metrics shows."""
        return self.reader.events, self.queue.dropped, self.pipeline.tracker.open_count

    def _publish(self) -> None:
        self._recorder.gauge_runs(self.pipeline.tracker.open_runs)
        readings: Readings = {
            (m.EVENTS_DROPPED, ()): self.queue.dropped,
            (m.QUEUE_DEPTH, ()): len(self.queue),
            (m.INTERNAL_ERRORS, ()): self.worker.errors,
            **self.reader.totals(),
            **self.pipeline.totals(),
            **self._sinks.totals(),
            **self.stops.room.totals(),
            **self.budgets.readings(),  # a budget named "all" replaces the sum of everything
            **({} if self._leases is None else self._leases.totals()),
            **({} if self.exporter is None else self.exporter.delivery.totals()),
        }
        with self.registry.updating():
            for (metric, labels), value in readings.items():
                self.registry.set(metric, labels, value)
        if self._shared is not None:
            self._shared.publish(self.registry.collect)
