"""Take the README's picture: run the demo, and write docs/demo.svg as the terminal shows it."""

import argparse
import io
import re
import time
from pathlib import Path
from typing import Self

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tocsin.lab.demo.demo import Demo, Options
from tocsin.lab.demo.stage import perform
from tocsin.lab.demo.stop import StopSignal

WIDTH = 100
LINES_SHOWN = 4
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"
THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (72, 79, 88),
        (248, 113, 108),
        (86, 211, 100),
        (224, 175, 84),
        (108, 182, 255),
        (188, 140, 255),
        (86, 212, 221),
        (201, 209, 217),
    ],
)


class Camera:
    """A screen that keeps the lines and, until the time is up, the latest picture."""

    def __init__(self, demo: Demo, seconds: float) -> None:
        self.console = Console(file=io.StringIO(), width=WIDTH)
        self.line_width = WIDTH
        self.lines: list[RenderableType] = []
        self.picture: RenderableType = ""
        self._demo = demo
        self._until_s = time.monotonic() + seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def refresh(self) -> None:
        """Keep the picture."""
        if time.monotonic() < self._until_s:
            self.picture = self._demo.draw(WIDTH)

    def say(self, line: RenderableType) -> None:
        """Keep the line."""
        if time.monotonic() < self._until_s:
            self.lines.append(line)


def take(seconds: float) -> str:
    """Return an SVG of the demo after so many seconds."""
    demo = Demo(Options(seconds=seconds))
    camera = Camera(demo, seconds)
    with StopSignal() as stop:
        perform(demo, camera, stop)
    console = Console(
        file=io.StringIO(), width=WIDTH, record=True, highlight=False, force_terminal=True
    )
    console.print(Text("$ tocsin demo", "dim"))
    for line in camera.lines[-LINES_SHOWN:]:
        console.print(line)
    console.print(camera.picture)
    return _offline(console.export_svg(title="tocsin demo", theme=THEME, unique_id="demo"))


def _offline(svg: str) -> str:
    """Make the picture fetch nothing: fonts of the reader's own instead of a web font."""
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: (Fira Code[^;]*|arial);", f"font-family: {FONTS};", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=34.0)
    parser.add_argument("--out", type=Path, default=Path("docs/demo.svg"))
    options = parser.parse_args()
    options.out.write_text(take(options.seconds), encoding="utf-8")
