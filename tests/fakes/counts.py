"""Read a registry as a person would: totals over whatever labels do not matter."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from tocsin.meters.registry import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Everything a scenario may change, over all workflows; what is not named did not happen."""

    outcomes: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    tokens: tuple[int, int] = (0, 0)
    details: dict[str, int] = field(default_factory=dict)
    cost: Decimal = Decimal(0)
    usage_missing: int = 0
    unpriced: int = 0
    first_tokens: int = 0
    turns: int = 0
    tools: int = 0
    tool_errors: int = 0
    tool_retries: int = 0
    handoffs: int = 0
    handoff_errors: int = 0
    checks: int = 0
    triggered: int = 0
    models: tuple[str, ...] = ()


class Page:
    """One reading of every metric."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = {family.metric.name: family for family in families}

    def total(self, name: str, **labels: str) -> float:
        """Sum of a counter or gauge over the series with these labels."""
        family = self._families.get(name)
        if family is None:
            return 0
        return sum(
            value
            for found, value in family.values.items()
            if labels.items() <= dict(zip(family.metric.labels, found, strict=True)).items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums of a counter or gauge by one label, without zeros."""
        family = self._families.get(name)
        sums: defaultdict[str, float] = defaultdict(float)
        if family is not None:
            position = family.metric.labels.index(label)
            for found, value in family.values.items():
                sums[found[position]] += value
        return {value: total for value, total in sums.items() if total}

    def observed(self, name: str) -> tuple[int, float]:
        """Number and sum of a histogram's observations."""
        family = self._families.get(name)
        if family is None:
            return 0, 0.0
        found = family.distributions.values()
        return sum(sum(one.counts) for one in found), sum(one.sum for one in found)

    def counts(self) -> Counts:
        """What happened, in the terms of a scenario."""
        return Counts(
            outcomes=_whole(self.by("agent_workflow_runs_total", "outcome")),
            calls=int(self.total("agent_llm_calls_total")),
            errors=_whole(self.by("agent_llm_errors_total", "error")),
            tokens=(
                int(self.total("agent_tokens_total", direction="input")),
                int(self.total("agent_tokens_total", direction="output")),
            ),
            details=_whole(self.by("agent_token_details_total", "detail")),
            cost=round(Decimal(self.total("agent_cost_dollars_total")), 8).normalize(),
            usage_missing=int(self.total("agent_usage_missing_total")),
            unpriced=int(self.total("agent_unpriced_tokens_total")),
            first_tokens=self.observed("agent_llm_time_to_first_token_seconds")[0],
            turns=int(self.observed("agent_workflow_turns")[1]),
            tools=self.observed("agent_tool_duration_seconds")[0],
            tool_errors=int(self.total("agent_tool_errors_total")),
            tool_retries=int(self.total("agent_tool_retries_total")),
            handoffs=int(self.total("agent_handoffs_total")),
            handoff_errors=int(self.total("agent_handoff_errors_total")),
            checks=int(self.total("agent_guardrail_checks_total")),
            triggered=int(self.total("agent_guardrail_triggered_total")),
            models=tuple(sorted(self.by("agent_llm_calls_total", "model"))),
        )


def _whole(found: dict[str, float]) -> dict[str, int]:
    return {label: int(value) for label, value in found.items()}
