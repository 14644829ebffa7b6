"""The live picture: one row per workflow, and what is true of all of them below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tocsin.lab.demo.figures import FlowFigures, Snapshot, failed_calls, flow_figures
from tocsin.meters import catalogue as m
from tocsin.model.amounts import UNKNOWN, at_least, count, duration, money, share

__all__ = ["Status", "grid", "live_view", "notes"]

WIDE: Final = 100
"""Columns from which the table gets air between its columns."""
COLUMNS: Final = ("Runs", "p50", "p95", "Errors", "Guard", "Tokens", "Cost", "Active", "Oldest")
ALARMING: Final = 0.05
"""Share of errors from which the number turns red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where the demo is. note: what it does or where its metrics are."""

    workflows: Sequence[str]
    title: str
    elapsed_s: float
    wall_s: float
    note: str


def live_view(now: Snapshot, status: Status, *, width: int) -> RenderableType:
    """Draw the whole picture."""
    flows = [flow_figures(now, name, wall_s=status.wall_s) for name in status.workflows]
    table = grid("Workflow", COLUMNS, width=width)
    for flow in flows:
        table.add_row(*_cells(flow))
    minutes, seconds = divmod(int(status.elapsed_s), 60)
    title = Text.assemble(("Tocsin demo", "bold"), f"  {minutes:02}:{seconds:02}  ")
    title.append(status.title, "dim")
    lines = [Text(line, "dim") for line in (*notes(now, flows), status.note)]
    return Group(Text(), title, Text(), table, Text(), *lines)


def grid(first: str, others: Sequence[str], *, width: int) -> Table:
    """Return an empty table of names and numbers, dense where the terminal is narrow."""
    padding = (0, 1) if width >= WIDE else (0, 0)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=padding,
        header_style="dim",
        border_style="dim",
    )
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True, min_width=6 if width >= WIDE else 4)
    return table


def _cells(flow: FlowFigures) -> list[RenderableType]:
    return [
        Text(flow.workflow, "bold"),
        count(flow.runs),
        duration(flow.p50_s),
        duration(flow.p95_s),
        _alarming(flow.error_rate),
        share(flow.guardrail_rate),
        at_least(count(flow.tokens), partial=flow.tokens_partial),
        at_least(money(flow.cost_usd), partial=flow.cost_partial),
        count(flow.active),
        duration(flow.oldest_s),
    ]


def _alarming(rate: float | None) -> Text:
    style = "" if not rate else "red" if rate >= ALARMING else "yellow"
    return Text(share(rate), style)


def notes(now: Snapshot, flows: Sequence[FlowFigures]) -> list[str]:
    """Say what concerns all workflows, each line below 80 columns."""
    calls, tools = now.total(m.LLM_CALLS), now.observations(m.TOOL_DURATION)
    lines = [
        f"LLM calls {count(calls or 0)} · failed {share(failed_calls(now))}"
        f" · first token p95 {duration(now.quantile(m.FIRST_TOKEN, 0.95))}"
        f" · hand-offs {count(now.total(m.HANDOFFS) or 0)}",
        f"Tool calls {count(tools)} · failed {_per_call(now.total(m.TOOL_ERRORS), tools)}"
        f" · repeated {_per_call(now.total(m.TOOL_RETRIES), tools)}"
        f" · SLA breaches {count(now.total(m.SLA_BREACHES) or 0)}",
        f"Spent today {money(now.total(m.BUDGET_SPENT))}{_unknowns(now)}",
    ]
    if any(flow.tokens_partial or flow.cost_partial for flow in flows):
        lines.append("+ at least: some calls reported no tokens, or have no known price")
    return lines


def _per_call(part: float | None, calls: int) -> str:
    return share((part or 0) / calls) if calls else UNKNOWN


def _unknowns(now: Snapshot) -> str:
    unpriced = {name: n for name, n in now.by(m.UNPRICED_TOKENS, "model").items() if n}
    words = f" · without price {count(sum(unpriced.values()))} tokens" if unpriced else ""
    if unpriced:
        words += f" ({', '.join(sorted(unpriced))})"
    missing = now.total(m.USAGE_MISSING)
    return f"{words} · usage missing {count(missing)}" if missing else words
