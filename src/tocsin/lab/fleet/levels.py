"""The service levels that the fleet's runs are held to; some of them break each."""

from collections.abc import Mapping
from typing import Final

from tocsin.runs.limits import WorkflowSLA

__all__ = ["SLAS"]

SLAS: Final[Mapping[str, WorkflowSLA]] = {
    "customer-support": WorkflowSLA(
        max_latency_seconds=3.5, max_tokens_per_request=6_000, max_first_token_seconds=0.8
    ),
    "research": WorkflowSLA(
        max_latency_seconds=7.0,
        max_tokens_per_request=30_000,
        max_cost_per_request=0.05,
        severity="critical",
    ),
    "billing": WorkflowSLA(max_latency_seconds=4.5, max_turns=4),
}
