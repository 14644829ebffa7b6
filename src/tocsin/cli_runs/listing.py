"""A table of runs."""

from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tocsin.api.documents import RunDocument, RunsDocument
from tocsin.api.run_ids import shorten
from tocsin.cli_runs.words import clean, cost_of, duration, outcome_of, started, tokens_of

__all__ = ["listing"]

HEADERS: Final = ("Run", "Workflow", "Outcome", "Started", "Took", "Turns", "Tokens", "Cost")
WORKFLOW: Final = HEADERS.index("Workflow")
NUMBERS: Final = HEADERS[3:]
WIDE: Final = 100
"""Columns from which the table gets air between its columns."""
LEAST: Final = 8
"""Columns that a workflow's name gets in any case."""


def listing(
    page: RunsDocument, now_ns: int, *, width: int, whole_ids: bool = False
) -> RenderableType:
    """Draw runs, one a line; only the names of workflows give way where it is narrow."""
    if not page.runs:
        return Text("no runs: none is stored, or none fits the filters", "dim")
    rows = [_row(run, now_ns, whole_ids=whole_ids) for run in page.runs]
    titles = (Text(header) for header in HEADERS)
    longest = [max(text.cell_len for text in column) for column in zip(titles, *rows, strict=True)]
    gap = 2 if width >= WIDE else 1
    room = width - sum(longest) - gap * (len(longest) - 1) + longest[WORKFLOW]
    longest[WORKFLOW] = min(longest[WORKFLOW], max(LEAST, room))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    table.header_style = table.border_style = "dim"
    for header, size in zip(HEADERS, longest, strict=True):
        justify = "right" if header in NUMBERS else "left"
        table.add_column(header, justify=justify, no_wrap=True, width=size)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    if page.next_cursor is None or whole_ids:
        return table
    return Group(table, Text(f"\nthe first {len(page.runs)}; more with --limit", "dim"))


def _row(run: RunDocument, now_ns: int, *, whole_ids: bool) -> list[Text]:
    run_id = clean(run.run_id)
    numbers = (
        started(run.started_at, now_ns),
        duration(run.duration_s),
        str(run.turns),
        tokens_of(run),
        cost_of(run),
    )
    return [
        Text(run_id if whole_ids else shorten(run_id)),
        Text(clean(run.workflow), "bold"),
        outcome_of(run),
        *map(Text, numbers),
    ]
