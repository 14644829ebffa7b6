"""A table of service levels."""

import math
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from tocsin.api.slas import LevelDocument, SlasDocument, WindowDocument
from tocsin.cli_runs.terminal import empty_table
from tocsin.cli_runs.words import clean
from tocsin.model.amounts import UNKNOWN, count, duration, money

__all__ = ["table_of"]

HOUR_S: Final = 3600
DAY_S: Final = 86_400
HEADERS: Final = ("Workflow", "Limit", "Target", "Hour", "Day", "Window", "Budget left", "Burn")
NUMBERS: Final = HEADERS[2:]
UNITS: Final = {
    "latency": duration,
    "first_token": duration,
    "tokens": count,
    "cost": money,
    "turns": count,
}


def table_of(found: SlasDocument) -> RenderableType:
    """Draw levels, one a line; what had no traffic is a dash."""
    if not found.slas:
        return Text("no service levels: none is set, or not for this workflow", "dim")
    table = empty_table(HEADERS, NUMBERS)
    shown = None
    for level in found.slas:
        name = "" if level.workflow == shown else clean(level.workflow)
        shown = level.workflow
        table.add_row(Text(name, "bold"), *_cells(level))
    return table


def _cells(level: LevelDocument) -> list[Text]:
    own = level.windows[-1]
    hour, day = (_window(level, window_s) for window_s in (HOUR_S, DAY_S))
    left = level.budget_left
    rate = level.windows[0].burn_rate
    return [
        Text(_limit(level)),
        Text(percent(level.target)),
        *(_share(window, level.target) for window in (hour, day)),
        _share(own, level.target).append(f" in {_time(own.window_s)}"),
        Text(percent(left), "bold red" if left is not None and left <= 0 else ""),
        Text(UNKNOWN if rate is None else f"{rate:.1f}", "yellow" if rate and rate > 1 else ""),
    ]


def _window(level: LevelDocument, window_s: float) -> WindowDocument | None:
    return next((window for window in level.windows if window.window_s == window_s), None)


def _share(window: WindowDocument | None, target: float | None) -> Text:
    share = None if window is None else window.share
    is_missed = share is not None and target is not None and share < target
    return Text(percent(share), "red" if is_missed else "")


def _limit(level: LevelDocument) -> str:
    if level.threshold is None:
        return level.limit
    return f"{level.limit} ≤ {UNITS[level.limit](level.threshold)}"


def _time(seconds: float) -> str:
    for size, unit in ((DAY_S, "d"), (HOUR_S, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def percent(ratio: float | None) -> str:
    """Write a ratio so that only all is 100 %: 99.95 %, 99.999 %, -20 %."""
    return UNKNOWN if ratio is None else f"{math.floor(ratio * 1e5 + 1e-6) / 1e3:g} %"
