"""What is left to read when the demo is over."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tocsin.lab.demo.figures import FlowFigures, Snapshot, flow_figures, model_figures
from tocsin.lab.demo.table import Status, grid
from tocsin.meters import catalogue as m
from tocsin.model.amounts import at_least, count, duration, money, share
from tocsin.model.run import Outcome

__all__ = ["summary"]

ALWAYS_SHOWN: Final = frozenset(
    {Outcome.OK, Outcome.ERROR, Outcome.MAX_TURNS, Outcome.GUARDRAIL, Outcome.CANCELLED}
)
YOUR_TURN: Final = "import tocsin; tocsin.install(metrics_port=8001)"


def summary(now: Snapshot, status: Status, *, width: int) -> RenderableType:
    """Sum the demo up: runs, time, money, models, breaches, drops, and what to do next."""
    flows = [flow_figures(now, name, wall_s=status.wall_s) for name in status.workflows]
    runs = sum(flow.runs for flow in flows)
    title = Text(f"Summary: {runs} runs in {duration(status.elapsed_s)}", "bold")
    parts = [_outcomes(flows, width), _costs(flows, width), _models(now, width)]
    spaced = [item for part in parts for item in (part, Text())]
    return Group(Text(), title, Text(), *spaced, *_closing(now))


def _outcomes(flows: Sequence[FlowFigures], width: int) -> Table:
    shown = [
        outcome
        for outcome in Outcome
        if outcome in ALWAYS_SHOWN or any(flow.outcomes.get(outcome) for flow in flows)
    ]
    table = grid("Runs by outcome", ["runs", *shown], width=width)
    for flow in flows:
        counts = (str(flow.outcomes.get(outcome, 0)) for outcome in shown)
        table.add_row(flow.workflow, str(flow.runs), *counts)
    return table


def _costs(flows: Sequence[FlowFigures], width: int) -> Table:
    columns = ("p50", "p95", "tokens", "cost", "cost per ok run")
    table = grid("Time and money", columns, width=width)
    for flow in flows:
        table.add_row(
            flow.workflow,
            duration(flow.p50_s),
            duration(flow.p95_s),
            at_least(count(flow.tokens), partial=flow.tokens_partial),
            at_least(money(flow.cost_usd), partial=flow.cost_partial),
            at_least(money(flow.cost_per_success_usd), partial=flow.cost_partial),
        )
    return table


def _models(now: Snapshot, width: int) -> Table:
    columns = ("calls", "failed", "p95", "first token p95", "tokens", "cost")
    table = grid("Models", columns, width=width)
    for model in model_figures(now):
        table.add_row(
            model.model,
            count(model.calls),
            share(model.error_rate),
            duration(model.p95_s),
            duration(model.first_token_p95_s),
            at_least(count(model.tokens), partial=model.partial),
            at_least(money(model.cost_usd), partial=model.partial),
        )
    return table


def _closing(now: Snapshot) -> list[Text]:
    dropped = (now.total(m.EVENTS_DROPPED) or 0) + (now.total(m.ALERTS_DROPPED) or 0)
    events = now.total(m.EVENTS) or 0
    return [
        Text(f"SLA breaches: {now.total(m.SLA_BREACHES) or 0:.0f}"),
        *_breaches(now),
        Text(f"Dropped: {dropped:.0f} of {events:,.0f} trace events"),
        Text(),
        Text.assemble("Watch your own agents: ", (YOUR_TURN, "bold")),
    ]


def _breaches(now: Snapshot) -> Iterator[Text]:
    for workflow, total in now.by(m.SLA_BREACHES, "workflow").items():
        limits = now.by(m.SLA_BREACHES, "limit", workflow=workflow)
        found = (f"{limit} {number:.0f}" for limit, number in limits.items() if number)
        if total:
            yield Text(f"  {workflow:<16} {', '.join(found)}")
