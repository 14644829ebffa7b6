"""One run: what it took, and its spans as a tree with bars on one axis of time."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tocsin.api.documents import RunDocument, RunViewDocument, SpanDocument
from tocsin.cli_runs.words import clean, cost_of, duration, outcome_of, tokens_of, usd
from tocsin.model.amounts import UNKNOWN, count
from tocsin.model.moment import NS_PER_S, parse_time
from tocsin.model.span import Kind

__all__ = ["run_tree"]

BAR: Final = (8, 60)
NAME_SHARE: Final = 0.45
MAX_DEPTH: Final = 12
"""Levels that are still indented."""
STYLES: Final = {
    Kind.LLM: "magenta",
    Kind.EMBEDDING: "magenta",
    Kind.TOOL: "cyan",
    Kind.RETRIEVAL: "cyan",
    Kind.AGENT: "blue",
    Kind.GUARDRAIL: "yellow",
    Kind.HANDOFF: "green",
}
UNNAMED: Final = frozenset({Kind.RUN, Kind.STEP, Kind.OTHER})
"""Kinds whose word says nothing that the name does not."""


class Line(NamedTuple):
    """A span and where it stands in the tree."""

    branch: str
    span: SpanDocument


class Axis(NamedTuple):
    """Time from left to right."""

    start_ns: int
    end_ns: int

    def cell(self, time_ns: int, width: int) -> int:
        """Return the cell in which a moment lies, 0 to width."""
        return (time_ns - self.start_ns) * width // max(1, self.end_ns - self.start_ns)


def run_tree(view: RunViewDocument, *, width: int) -> RenderableType:
    """Draw a run for a terminal of some width."""
    lines = list(_lines(view.spans))
    more = view.span_count - len(view.spans)
    rest = [Text(f"{more} more spans are not shown", "dim")] if more else []
    return Group(*_heading(view.run), Text(), _table(view, lines, width), *rest)


def _heading(run: RunDocument) -> list[Text]:
    took = [
        duration(run.duration_s),
        _plural(run.turns, "turn"),
        "tokens unknown" if run.total_tokens is None else f"{tokens_of(run)} tokens",
        "cost unknown" if run.cost_usd is None else cost_of(run),
    ]
    title = Text.assemble((clean(run.workflow), "bold"), "  ", outcome_of(run), "  ")
    title.append(" · ".join(took))
    facts = {
        "run": run.run_id,
        "trace": run.trace_id,
        "conversation": run.conversation_id,
        "service": run.service,
        "environment": run.environment,
        "started": run.started_at,
    }
    notes = [f"{name} {clean(value)}" for name, value in facts.items() if value]
    notes += [
        f"{_plural(number, 'call')} {what}"
        for number, what in (
            (run.usage_missing, "reported no tokens"),
            (run.unpriced_calls, "without a known price"),
        )
        if number
    ]
    return [title, *(Text(note, "dim") for note in notes)]


def _table(view: RunViewDocument, lines: Sequence[Line], width: int) -> Table:
    labels = [_label(line) for line in lines]
    has_first = any(line.span.first_token_s is not None for line in lines)
    headers = ["Took", *(["First"] if has_first else []), "Tokens", "Cost"]
    cells = [_numbers(line.span, has_first=has_first) for line in lines]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    room = width - sum(widths) - len(widths) - 1
    name = min(max((label.cell_len for label in labels), default=4), int(width * NAME_SHARE))
    name = max(4, min(name, room - BAR[0]))
    bar = max(BAR[0], min(BAR[1], room - name))
    axis = _axis(view)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("Span", no_wrap=True, overflow="ellipsis", width=name)
    table.add_column(_scale(axis, bar), no_wrap=True, width=bar)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for line, label, numbers in zip(lines, labels, cells, strict=True):
        table.add_row(label, _bar(line.span, axis, bar), *numbers)
    return table


def _lines(spans: Sequence[SpanDocument]) -> Iterator[Line]:
    """Yield spans, parents before children; one whose parents go in a circle becomes a root.

    A run's rollup shares the id of the run's root, so spans are told apart by their place.
    """
    first: dict[str, int] = {}
    for i, span in enumerate(spans):
        first.setdefault(span.span_id, i)
    children: dict[int | None, list[int]] = {}
    for i, span in enumerate(spans):
        parent = first.get(span.parent_id or "")
        children.setdefault(None if parent == i else parent, []).append(i)
    seen: set[int] = set()
    for root in (*children.get(None, ()), *range(len(spans))):
        waiting = [(root, "", "")]
        while waiting:
            i, branch, below = waiting.pop()
            if i in seen:
                continue
            seen.add(i)
            yield Line(branch, spans[i])
            own = [child for child in children.get(i, ()) if child not in seen]
            deep = len(below) >= 2 * MAX_DEPTH
            for child in reversed(own):
                is_last = child == own[-1]
                mark, rest = ("└ ", "  ") if is_last else ("├ ", "│ ")
                waiting.append((child, below + mark, below if deep else below + rest))


def _label(line: Line) -> Text:
    span = line.span
    name = clean(span.model or span.name if span.kind in (Kind.LLM, Kind.EMBEDDING) else span.name)
    label = Text().append(line.branch, "dim")
    if span.error is not None:
        label.append(f"✗ {span.error.value} ", "bold red")
    if span.kind not in UNNAMED:
        label.append(f"{span.kind.value} ", "dim")
    label.append(name, STYLES.get(span.kind, "bold"))
    if span.triggered:
        label.append(" tripped", "yellow")
    if span.retry:
        label.append(" again", "yellow")
    return label


def _numbers(span: SpanDocument, *, has_first: bool) -> list[str]:
    is_call = span.kind in (Kind.LLM, Kind.EMBEDDING)
    first = "" if span.first_token_s is None else duration(span.first_token_s)
    tokens = UNKNOWN if span.usage is None else count(span.usage.total_tokens)
    return [
        duration(span.duration_s),
        *([first] if has_first else []),
        tokens if is_call else "",
        usd(span.cost_usd) if is_call else "",
    ]


def _axis(view: RunViewDocument) -> Axis:
    run = view.run
    times = [(parse_time(s.started_at), int(s.duration_s * NS_PER_S)) for s in view.spans]
    times.append((parse_time(run.started_at), int((run.duration_s or 0) * NS_PER_S)))
    return Axis(min(start for start, _ in times), max(start + took for start, took in times))


def _scale(axis: Axis, width: int) -> Text:
    end = duration((axis.end_ns - axis.start_ns) / NS_PER_S)
    return Text("0" + end.rjust(width - 1))


def _bar(span: SpanDocument, axis: Axis, width: int) -> Text:
    """Draw when a span went on; light until its first token."""
    start_ns = parse_time(span.started_at)
    left = min(axis.cell(start_ns, width), width - 1)
    right = max(left + 1, axis.cell(start_ns + int(span.duration_s * NS_PER_S), width))
    waited = 0
    if span.first_token_s is not None:
        token = axis.cell(start_ns + int(span.first_token_s * NS_PER_S), width)
        waited = max(0, min(token, right - 1) - left)
    style = "red" if span.error is not None else STYLES.get(span.kind, "")
    return Text(" " * left).append("░" * waited + "█" * (right - left - waited), style)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
