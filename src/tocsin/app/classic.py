"""The classic processors: thin faces on one watcher, so that they agree to the last count."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from tocsin.app.install import default_watcher, expose
from tocsin.app.watcher import Watcher
from tocsin.meters.clients import ClientCosts, ClientMeters
from tocsin.runs.limits import WorkflowSLA
from tocsin.sources.agents_sdk.processor import EventProcessor

__all__ = [
    "CostTracker",
    "MetricsCollector",
    "PrometheusTraceProcessor",
    "SLAEnforcementProcessor",
]


class Face(EventProcessor):
    """A trace processor that feeds a watcher: the process's own, unless another is given.

    Several faces of one watcher may be registered together; every span still counts once.
    """

    def __init__(self, watcher: Watcher | None) -> None:
        self.watcher = default_watcher() if watcher is None else watcher
        own = self.watcher
        super().__init__(own.emit, own.flush, own.queue, own.shutdown)


class MetricsCollector(Face):
    """Sends agent.* durations, tokens, errors and completions to a metrics client.

    The client has `counter`, `histogram` and `gauge`, each taking a name, a value and tags;
    names and tags: `tocsin.meters.clients.ClientMeters`.
    """

    def __init__(self, metrics_client: Any, *, watcher: Watcher | None = None) -> None:
        super().__init__(watcher)
        self.watcher.add_observer(ClientMeters(metrics_client))


class PrometheusTraceProcessor(Face):
    """Shows the agent_* metrics in a prometheus_client registry, by default the global one.

    Serve them as you serve your own: `prometheus_client.start_http_server`, `make_asgi_app`, …
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, watcher: Watcher | None = None
    ) -> None:
        super().__init__(watcher)
        self.registry = expose(self.watcher, registry)


class CostTracker(Face):
    """Sends agent.cost.dollars_total by model, workflow and cost_type to a metrics client.

    prices: USD per million tokens, `{"my-model": {"input": 3.00, "output": 12.00}}`, over the
    bundled price list.
    """

    def __init__(
        self,
        metrics_client: Any,
        prices: Mapping[str, Mapping[str, object]] | None = None,
        *,
        watcher: Watcher | None = None,
    ) -> None:
        super().__init__(watcher)
        if prices is not None:
            self.watcher.prices.override(prices)
        self.watcher.add_observer(ClientCosts(metrics_client))


class SLAEnforcementProcessor(Face):
    """Calls `alert_service.send(severity=, message=)` the moment a run passes a limit.

    slas: workflow name -> WorkflowSLA; "*" for every workflow without its own.
    """

    def __init__(
        self,
        alert_service: Any,
        slas: Mapping[str, WorkflowSLA],
        *,
        watcher: Watcher | None = None,
    ) -> None:
        super().__init__(watcher)
        self.watcher.add_slas(slas, alert_service)
