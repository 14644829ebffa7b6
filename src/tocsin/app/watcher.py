"""All parts wired together: from the SDK's callbacks to metrics and alerts."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from tocsin.app.alerts import AlertSink
from tocsin.app.export import SpanExporter
from tocsin.app.lifetimes import live_and_die_with_process
from tocsin.app.metrics_server import MetricsServer
from tocsin.app.pipeline import Pipeline
from tocsin.app.queue import EventQueue
from tocsin.app.run_guard import GuardRoom
from tocsin.app.shared import SharedFamilies
from tocsin.app.stops import Stops
from tocsin.app.tariff import Tariff
from tocsin.app.worker import Worker, left_s
from tocsin.clock import SYSTEM_CLOCK
from tocsin.errors import ConfigError
from tocsin.guard.limits import StopLimits
from tocsin.meters import catalogue as m
from tocsin.meters.cardinality import OTHER
from tocsin.meters.catalogue import Metric
from tocsin.meters.exposition import RegistryCollector
from tocsin.meters.observer import Observer
from tocsin.meters.record import Recorder
from tocsin.meters.registry import Family, Registry
from tocsin.pricing.catalogue import PriceBook
from tocsin.quality.settings import OFF, Quality
from tocsin.quality.watch import QualityWatch
from tocsin.runs.limits import ANY_WORKFLOW, WorkflowSLA
from tocsin.sources.agents_sdk.decode import Decoder, Malformed
from tocsin.sources.agents_sdk.events import Emit, Event
from tocsin.sources.agents_sdk.processor import EventProcessor

__all__ = ["Watcher"]

logger = logging.getLogger(__name__)

EXIT_DEADLINE_S: Final = 2.0
FLUSH_DEADLINE_S: Final = 5.0
EXPIRE_EVERY_S: Final = 1.0
MAX_REASONS: Final = 100
"""Reasons of malformed events that are told apart; a program can make up exception types."""


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
        self._sinks: list[AlertSink] = []
        self._forget()
        self.stops = Stops(GuardRoom(Tariff(self.prices), SYSTEM_CLOCK), self.emit)
        self._unwatch_runner = _watch_runner(self.emit, self.stops) if watch_runner else None
        live_and_die_with_process(self)

    def _forget(self) -> None:
        self._decoder = Decoder(open_ttl_ns=self._open_ttl_ns)
        self._decoder.data_times = self.pipeline.quality.settings.data_times
        self._events = 0
        self._exit_budget_s = EXIT_DEADLINE_S
        self._published: tuple[int, ...] = ()
        self._malformed: Counter[str] = Counter()
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
            self._add_sink(AlertSink(alert_service, slas))
        self.pipeline.add_slas(slas)
        for workflow, sla in slas.items():
            if workflow != ANY_WORKFLOW:
                self._recorder.watch_limits(workflow, sla.limits)

    def add_stops(self, stops: Mapping[str, StopLimits], alert_service: Any = None) -> None:
        """Stop runs of workflows at hard limits; tell the service, if there is one.

        Raises ConfigError for limits below their workflow's service level, and where the runner,
        which alone can stop runs, is not watched.
        """
        if self._unwatch_runner is None:
            raise ConfigError("stops: runs can be stopped only with watch_runner=True")
        self.stops.add(stops)
        if alert_service is not None:
            self._add_sink(AlertSink(alert_service, {}))
        for workflow, rules in stops.items():
            if workflow != ANY_WORKFLOW:
                self._recorder.watch_limits(workflow, rules.limits, "stop")

    def watch_quality(self, quality: Quality | None) -> None:
        """Hold runs to other thresholds of quality; None: to none. Raises ConfigError."""
        if quality is not None and not isinstance(quality, Quality):
            raise ConfigError(f"quality: {quality!r} is not a tocsin.Quality(…) or None")
        settings = OFF if quality is None else quality
        self.pipeline.quality = QualityWatch(settings)
        self._recorder.watch_signals(settings.signals)
        self._decoder.data_times = settings.data_times

    def export(self, exporter: SpanExporter) -> None:
        """Send every span from now on to a server."""
        self.exporter = exporter
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
        if self.exporter is not None:
            self.exporter.delivery.finish()
        for sink in self._sinks:
            sink.close(deadline)
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
        self.stops.room.reset_after_fork()
        self.queue.reset_after_fork()
        self.worker.reset_after_fork()
        self.registry.reset_after_fork()
        for sink in self._sinks:
            sink.reset_after_fork()
        if self.exporter is not None:
            self.exporter.reset_after_fork()
        if self._shared is not None:
            self._shared.reset_after_fork()
        if self.server is not None:
            self.server.reset_after_fork()

    def _add_sink(self, sink: AlertSink) -> None:
        self._sinks.append(sink)
        self.pipeline.add_observer(sink)

    def _process(self, event: Event) -> None:
        self._events += 1
        try:
            record = self._decoder.decode(event)
        except Malformed as reason:
            self._count_malformed(str(reason))
            return
        except Exception as error:  # noqa: BLE001 - a span's fields may raise anything
            self._count_malformed(type(error).__name__[:40])
            return
        if record is not None:
            self.pipeline.feed(record)

    def _count_malformed(self, reason: str) -> None:
        is_room = reason in self._malformed or len(self._malformed) < MAX_REASONS
        self._malformed[reason if is_room else OTHER] += 1

    def _tick(self) -> None:
        self.pipeline.sweep()
        if self.exporter is not None:
            self.exporter.delivery.tick()
        now_s = time.monotonic()
        if now_s >= self._expire_at_s:
            self._expire_at_s = now_s + EXPIRE_EVERY_S
            self._decoder.expire(time.monotonic_ns())
            if self.server is not None:
                self.server.ensure()
        elif self._published == self._state():
            return
        self._published = self._state()
        self._publish()

    def _state(self) -> tuple[int, ...]:
        """Changes with everything that a page of metrics shows."""
        return self._events, self.queue.dropped, self.pipeline.tracker.open_count

    def _publish(self) -> None:
        tracker = self.pipeline.tracker
        spent = self.pipeline.spend.today(time.time_ns())
        self._recorder.gauge_runs(tracker.open_runs, spent)
        totals: dict[tuple[Metric, tuple[str, ...]], float] = {
            (m.EVENTS, ()): self._events,
            (m.EVENTS_DROPPED, ()): self.queue.dropped,
            (m.QUEUE_DEPTH, ()): len(self.queue),
            (m.LATE_SPANS, ()): tracker.late_spans,
            (m.LOST_RUNS, ("expired",)): tracker.expired_runs,
            (m.LOST_RUNS, ("evicted",)): tracker.evicted_runs,
            (m.UNTRACED_RUNS, ()): self._decoder.untraced_runs,
            (m.INTERNAL_ERRORS, ()): self.worker.errors,
            **self.stops.room.totals(),
            (m.ALERTS_DROPPED, ()): sum(sink.dropped for sink in self._sinks),
        }
        totals[m.MALFORMED, ("unreadable fields",)] = self._decoder.unreadable_spans
        for reason, count in self._malformed.items():
            totals[m.MALFORMED, (reason,)] = count
        errors = Counter(self.pipeline.sink_errors)
        errors[AlertSink.sink] += sum(sink.failed for sink in self._sinks)
        for sink_name, count in errors.items():
            totals[m.SINK_ERRORS, (sink_name,)] = count
        if self.exporter is not None:
            totals |= self.exporter.delivery.totals()
        with self.registry.updating():
            for (metric, labels), value in totals.items():
                self.registry.set(metric, labels, value)
        if self._shared is not None:
            self._shared.publish(self.registry.collect)


def _watch_runner(emit: Emit, stops: Stops) -> Callable[[], None] | None:
    """Watch the SDK's runner and models; without them, in an SDK of another shape, spans tell."""
    try:
        from tocsin.sources.agents_sdk.runner import RunnerWatch

        return RunnerWatch(emit, stops).undo
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("the SDK's runner is not watched, its spans are: %s", error)
        return None
