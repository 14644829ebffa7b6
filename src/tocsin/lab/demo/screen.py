"""Where the demo is shown: a live terminal, or anything that takes lines."""

import re
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

__all__ = ["Alerts", "LiveScreen", "PlainScreen", "Screen", "breach_line", "open_screen"]

Draw = Callable[[int], RenderableType]
"""Draws the picture for a width in columns."""

SEVERITY_STYLES: Final = {"critical": "bold red", "error": "red", "warning": "yellow"}
RUN: Final = re.compile(r" \(run \S+\)$")


class Screen(Protocol):
    """Shows a picture that changes, and lines that stay."""

    console: Console

    @property
    def line_width(self) -> int | None:
        """Columns at which lines should fold; None where each stays one line."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def refresh(self) -> None:
        """Draw the picture anew, if it is time to. Safe from any thread."""
        ...

    def say(self, line: RenderableType) -> None:
        """Print something that stays. Safe from any thread."""
        ...


class LiveScreen:
    """A picture that is redrawn in place, under the lines that scroll."""

    def __init__(self, console: Console, draw: Draw) -> None:
        self.console = console
        self._live = Live(
            console=console,
            get_renderable=lambda: draw(console.width),
            auto_refresh=False,
            vertical_overflow="crop",
        )

    @property
    def line_width(self) -> int | None:
        """The terminal's width."""
        return self.console.width

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def refresh(self) -> None:
        """Draw the picture anew."""
        self._live.refresh()

    def say(self, line: RenderableType) -> None:
        """Print above the picture."""
        self.console.print(line)


class PlainScreen:
    """Prints the picture every few seconds, for terminals and files that only take lines."""

    def __init__(self, console: Console, draw: Draw, *, every_s: float = 5.0) -> None:
        self.console = console
        self._draw = draw
        self._every_s = every_s
        self._next_s = 0.0
        self._lock = threading.Lock()

    @property
    def line_width(self) -> int | None:
        """None: programs may read the lines."""
        return None

    def __enter__(self) -> Self:
        self.refresh()
        return self

    def __exit__(self, *exception: object) -> None:
        self._next_s = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Print the picture, if the last one is old enough."""
        with self._lock:
            if time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + self._every_s
                self.console.print(self._draw(self.console.width))

    def say(self, line: RenderableType) -> None:
        """Print a line."""
        with self._lock:
            self.console.print(line, soft_wrap=True)


def open_screen(console: Console, draw: Draw, *, plain: bool) -> Screen:
    """Choose the screen that the console can show."""
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainScreen(console, draw)
    return LiveScreen(console, draw)


class Alerts:
    """The alert service of the demo: prints every breach the moment it happens."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def send(self, *, severity: str, message: str) -> None:
        """Print one breach."""
        at = time.strftime("%H:%M:%S")
        self._screen.say(breach_line(at, severity, message, width=self._screen.line_width))


def breach_line(at: str, severity: str, message: str, *, width: int | None) -> RenderableType:
    """Write a breach on one line, or folded beside its time where `width` is too small."""
    head = Text.assemble((at, "dim"), " ", (f"{severity:<8}", SEVERITY_STYLES.get(severity, "")))
    run = RUN.search(message)
    body = message if run is None else message[: run.start()]
    where = "" if run is None else run.group().strip()
    line = Text.assemble(head, " ", body, " ", (where, "dim"))
    if width is None or line.cell_len <= width:
        return line
    folded = Table.grid(padding=(0, 1, 0, 0))
    fits = head.cell_len + 1 + len(body) <= width
    folded.add_row(head, Text.assemble(body, "\n" if fits else " ", (where, "dim")))
    return folded
