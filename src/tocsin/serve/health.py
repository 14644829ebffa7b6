"""The server's own metrics, read from its parts when someone asks."""

import time
from typing import Any

from tocsin.meters import catalogue as m
from tocsin.meters.registry import Family, Registry
from tocsin.model.telemetry import Signal
from tocsin.serve.consumer import Consumer
from tocsin.store.journal import Journal

__all__ = ["ServerMeters"]


class ServerMeters:
    """Fills the registry with what journal and consumer count themselves."""

    def __init__(self, registry: Registry, journal: Journal, consumer: Consumer[Any]) -> None:
        self._registry = registry
        self._journal = journal
        self._consumer = consumer
        with registry.updating():
            for signal in (Signal.METRICS, Signal.LOGS):
                registry.add(m.OTLP_DROPPED, (signal.value,), 0)
            for protocol in ("http", "grpc"):
                code = "200" if protocol == "http" else "OK"
                registry.add(m.OTLP_REQUESTS, (protocol, Signal.TRACES.value, code), 0)
                registry.add(m.OTLP_BYTES, (protocol, Signal.TRACES.value), 0)

    def families(self) -> list[Family]:
        """Every metric as it is now."""
        counts, consumed = self._journal.counts, self._consumer.counts
        outcomes = {
            "accepted": counts.records,
            "duplicate": counts.duplicates,
            "refused": counts.failures,
            "damaged": counts.damaged,
        }
        with self._registry.updating():
            self._registry.set(m.JOURNAL_BYTES, (), self._journal.backlog_bytes)
            self._registry.set(m.JOURNAL_LAG, (), self._lag_s())
            self._registry.set(m.JOURNAL_TORN, (), counts.torn_bytes)
            for outcome, count in outcomes.items():
                self._registry.set(m.JOURNAL_RECORDS, (outcome,), count)
            self._registry.set(m.DEAD_BODIES, (), consumed.dead)
            self._registry.set(m.STORE_RETRIES, (), consumed.store_errors)
        return self._registry.collect()

    def _lag_s(self) -> float:
        oldest_ns = self._journal.received_after_ns(self._consumer.position)
        return 0.0 if oldest_ns is None else max(0.0, (time.time_ns() - oldest_ns) / 1e9)
