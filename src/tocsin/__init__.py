"""Production monitoring and alerting for AI agents."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.app.classic import (
        CostTracker,
        MetricsCollector,
        PrometheusTraceProcessor,
        SLAEnforcementProcessor,
    )
    from tocsin.app.guard import Guard
    from tocsin.app.install import install
    from tocsin.app.limit import limit
    from tocsin.errors import ConfigError, TocsinError
    from tocsin.guard.budgets import Budget
    from tocsin.guard.limits import StopLimits
    from tocsin.quality.settings import Quality, ToolData
    from tocsin.runs.limits import WorkflowSLA
    from tocsin.sources.limit_exceeded import LimitExceeded

__all__ = [
    "Budget",
    "ConfigError",
    "CostTracker",
    "Guard",
    "LimitExceeded",
    "MetricsCollector",
    "PrometheusTraceProcessor",
    "Quality",
    "SLAEnforcementProcessor",
    "StopLimits",
    "TocsinError",
    "ToolData",
    "WorkflowSLA",
    "install",
    "limit",
]

__version__ = "0.1.0"

# Resolved on first use: `import tocsin` must not import the Agents SDK, which takes seconds.
_HOMES = {
    "Budget": "tocsin.guard.budgets",
    "ConfigError": "tocsin.errors",
    "CostTracker": "tocsin.app.classic",
    "Guard": "tocsin.app.guard",
    "LimitExceeded": "tocsin.sources.limit_exceeded",
    "MetricsCollector": "tocsin.app.classic",
    "PrometheusTraceProcessor": "tocsin.app.classic",
    "Quality": "tocsin.quality.settings",
    "SLAEnforcementProcessor": "tocsin.app.classic",
    "StopLimits": "tocsin.guard.limits",
    "TocsinError": "tocsin.errors",
    "ToolData": "tocsin.quality.settings",
    "WorkflowSLA": "tocsin.runs.limits",
    "install": "tocsin.app.install",
    "limit": "tocsin.app.limit",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
