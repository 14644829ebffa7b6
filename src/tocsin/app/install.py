"""`tocsin.install()`: the whole stack in one line."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agents.tracing import add_trace_processor
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tocsin.app.budget_client import budget_server
from tocsin.app.configuration import Limits, read_limits
from tocsin.app.export import exporter
from tocsin.app.http_link import parse_headers
from tocsin.app.watcher import Watcher
from tocsin.errors import ConfigError
from tocsin.guard.budgets import Budget
from tocsin.guard.limits import StopLimits
from tocsin.quality.settings import Quality
from tocsin.runs.limits import WorkflowSLA

__all__ = ["default_watcher", "expose", "install"]

logger = logging.getLogger(__name__)

DISABLED_ENV = "OPENAI_AGENTS_DISABLE_TRACING"
SHARED_DIR_ENV = "PROMETHEUS_MULTIPROC_DIR"

_lock = threading.RLock()
_default: list[Watcher] = []
_installed: list[Watcher] = []


class DefaultPort(int):
    """The port of /metrics where none was asked for."""


DEFAULT_PORT: Final = DefaultPort(8001)
DEFAULT_QUALITY: Final = Quality()


def install(
    metrics_port: int | None = DEFAULT_PORT,
    *,
    metrics_host: str = "127.0.0.1",
    config: str | os.PathLike[str] | None = None,
    export_to: str | None = None,
    export_headers: Mapping[str, str] | None = None,
    slas: Mapping[str, WorkflowSLA] | None = None,
    stops: Mapping[str, StopLimits] | None = None,
    budgets: Sequence[Budget] = (),
    budget_file: str | os.PathLike[str] | None = None,
    budgets_from: str | None = None,
    alert_service: Any = None,
    quality: Quality | None = DEFAULT_QUALITY,
    prices: Mapping[str, Mapping[str, object]] | None = None,
    run_ttl_s: float = 3600.0,
    watch_runner: bool = True,
) -> Watcher:
    """Watch every run of the OpenAI Agents SDK in this process.

    Adds a trace processor beside those that exist, and answers /metrics on `metrics_port` (None:
    not at all; a free port, with a warning, if it is taken). config: a `tocsin.yaml`, whose
    workflows, budgets and prices hold here too; what is given in code goes before it, and it needs
    the packages of `tocsin[server]`. slas: limits by workflow name, "*" for all others; each breach
    goes to `alert_service.send(severity=, message=)`. stops: hard limits in the same way; a run
    that would pass one ends with LimitExceeded. budgets: US dollars per hour, day or month; the
    same service hears of shares spent, and `stop_at` ends runs too.
    budget_file: where what is spent of them outlives this process. budgets_from: address of a
    Tocsin server whose budgets hold here too, shared with all processes that have it; it is waited
    for up to 2 s, and where it does not answer, calls go through until it does. quality: thresholds
    of the signals that no error shows, sent to the same service (of the workflows in `slas`, or of
    all where there are none); None: none is watched for. prices: USD per million tokens for models
    without a public price, `{"my-model": {"input": 3, "output": 12}}`.
    run_ttl_s: seconds of silence after which an open run is given up. watch_runner: also wrap the
    SDK's default runner and model classes, for true exceptions and times to first token.

    export_to: address of a Tocsin server, or of any collector of OTLP over HTTP, to which every
    span is sent, never content; then /metrics is answered only if `metrics_port` is given too.
    export_headers: sent along, to `budgets_from` too, such as `{"authorization": "Bearer …"}`.

    Where the environment variable PROMETHEUS_MULTIPROC_DIR names a directory, all processes that
    have it share their metrics there, and whichever has the port answers for all.

    Returns the watcher: `flush()` waits until all that happened is counted, `close()` ends it.
    A second call changes nothing. Raises ConfigError for wrong settings, nothing later.
    """
    if metrics_port is not None and not is_port(metrics_port):
        raise ConfigError(
            f"metrics_port: {metrics_port!r} is not a port; write 0 to 65535, or None"
        )
    if isinstance(metrics_port, DefaultPort) and export_to is not None:
        metrics_port = None
    if export_headers is not None and export_to is None and budgets_from is None:
        raise ConfigError("export_headers: there is no export_to to send them to")
    with _lock:
        if _installed and not _installed[0].is_closed:
            logger.warning("tocsin.install() was called before; its first settings stay")
            return _installed[0]
        limits = Limits() if config is None else read_limits(config)
        limits = limits.overridden(slas=slas, stops=stops, prices=prices).with_budgets(budgets)
        exporting = None if export_to is None else exporter(export_to, export_headers)
        keeper = None if budgets_from is None else budget_server(budgets_from)
        headers = parse_headers(export_headers)
        watcher = default_watcher(run_ttl_s=run_ttl_s, watch_runner=watch_runner)
        watcher.prices.override(limits.prices)
        watcher.watch_quality(quality)
        _set_limits(watcher, limits, alert_service)
        if limits.budgets or budget_file is not None:
            watcher.add_budgets(limits.budgets, file=budget_file)
        if exporting is not None:
            watcher.export(exporting)
        if keeper is not None and not watcher.lease_budgets(keeper, headers):
            logger.warning("%s has not told its budgets yet; until it does, none holds", keeper)
        registry = expose(watcher)
        if metrics_port is not None:
            watcher.serve_metrics(registry, host=metrics_host, port=metrics_port)
        add_trace_processor(watcher.processor)
        if os.environ.get(DISABLED_ENV, "").lower() in ("1", "true"):
            logger.warning("%s is set: the SDK traces nothing, so no run is seen", DISABLED_ENV)
        _installed[:] = [watcher]
        return watcher


def _set_limits(watcher: Watcher, limits: Limits, alert_service: Any) -> None:
    watcher.add_slas(limits.slas, alert_service)
    if limits.stops:
        # The service that hears of service levels hears of hard limits anyway.
        watcher.add_stops(limits.stops)


def is_port(value: object) -> bool:
    """Whether a value is a TCP port, 0 (any free one) included."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 65536


def default_watcher(*, run_ttl_s: float = 3600.0, watch_runner: bool = True) -> Watcher:
    """Return this process's watcher, which `install` and all classic processors share."""
    with _lock:
        if not _default or _default[0].is_closed:
            _default[:] = [
                Watcher(
                    run_ttl_s=run_ttl_s,
                    watch_runner=watch_runner,
                    shared_dir=os.environ.get(SHARED_DIR_ENV) or None,
                )
            ]
        return _default[0]


def expose(watcher: Watcher, registry: CollectorRegistry | None = None) -> CollectorRegistry:
    """Show a watcher's metrics in a prometheus_client registry, the default one if None.

    Where processes share their metrics and no registry is given, the result is a new registry
    that also merges the program's own multi-process metrics.
    """
    shared_dir = os.environ.get(SHARED_DIR_ENV)
    if registry is None and shared_dir:
        registry = CollectorRegistry()
        try:
            Path(shared_dir).mkdir(parents=True, exist_ok=True)
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            logger.warning("%s=%s: metrics are not shared: %s", SHARED_DIR_ENV, shared_dir, error)
    registry = REGISTRY if registry is None else registry
    if registry not in watcher.exposed_in:
        registry.register(watcher.collector)
        watcher.exposed_in.append(registry)
    return registry
