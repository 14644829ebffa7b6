"""`tocsin demo` from start to summary."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, RenderableType

from tocsin.lab.demo.figures import Snapshot
from tocsin.lab.demo.screen import open_screen
from tocsin.lab.demo.stop import StopSignal
from tocsin.lab.demo.summary import summary
from tocsin.lab.demo.table import Status, live_view
from tocsin.lab.fleet.arrivals import MIX
from tocsin.meters.registry import Family

__all__ = ["Demo", "Options", "run_demo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for. seconds: None runs until Ctrl-C."""

    seconds: float | None = None
    rate: float = 2.0
    seed: int = 8
    port: int = 8001
    plain: bool = False


class Demo:
    """What is shown: nothing yet, then the watcher's families, then the last of them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.families: Callable[[], list[Family]] = list
        self.note = "Loading the OpenAI Agents SDK …"
        self._began_s: float | None = None
        self._ended_s: float | None = None

    def watch(self, families: Callable[[], list[Family]], metrics_port: int | None) -> None:
        """Show these families from now on."""
        self.families, self._began_s = families, time.monotonic()
        where = f"http://127.0.0.1:{metrics_port}/metrics" if metrics_port else "not served"
        self.note = f"Metrics: {where} · Ctrl-C ends"

    def announce_end(self) -> None:
        """Say that no more runs will start."""
        self.note = "Ending: the last runs have a moment to finish …"

    def freeze(self) -> None:
        """Keep what there is: nothing more will happen."""
        last = self.families()
        self.note = "Ended."
        self.families, self._ended_s = (lambda: last), time.monotonic()

    def draw(self, width: int) -> RenderableType:
        """Draw the live picture."""
        return live_view(Snapshot(self.families()), self._status(), width=width)

    def sum_up(self, width: int) -> RenderableType:
        """Draw the summary."""
        return summary(Snapshot(self.families()), self._status(), width=width)

    def _status(self) -> Status:
        now_s = time.monotonic() if self._ended_s is None else self._ended_s
        return Status(
            workflows=tuple(MIX),
            title=f"real agents on a fake LLM, {self.options.rate:g} runs/s",
            elapsed_s=0.0 if self._began_s is None else now_s - self._began_s,
            wall_s=time.time(),
            note=self.note,
        )


def run_demo(options: Options, console: Console | None = None) -> None:
    """Run the demo to its end and print the summary."""
    console = console or _console()
    demo = Demo(options)
    with StopSignal() as stop, open_screen(console, demo.draw, plain=options.plain) as screen:
        # Only now, with the first picture up: loading the Agents SDK takes seconds.
        from tocsin.lab.demo.stage import perform

        perform(demo, screen, stop)
    console.print(demo.sum_up(console.width))


def _console() -> Console:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal shows ? for a dash
    return Console(highlight=False, emoji=False)
