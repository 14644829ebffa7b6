"""The demo's performance: fake LLM, watched fleet, and the picture kept fresh."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from agents.tracing import set_trace_processors, set_tracing_disabled

import tocsin
from tocsin.app.watcher import Watcher
from tocsin.lab.demo.demo import Demo
from tocsin.lab.demo.figures import Snapshot
from tocsin.lab.demo.screen import Alerts, Screen
from tocsin.lab.demo.stop import StopSignal
from tocsin.lab.fake_llm import FakeLLM
from tocsin.lab.fleet.arrivals import arrivals
from tocsin.lab.fleet.driver import WORKFLOWS, Fleet, connect
from tocsin.lab.fleet.levels import SLAS
from tocsin.lab.fleet.models import fake_models
from tocsin.meters import catalogue as m

__all__ = ["perform"]

REFRESH_S: Final = 0.25
DRAIN_S: Final = 1.5
"""How long runs may still go on when it is time to end."""
SETTLE_S: Final = 2.5
"""How long the watcher may take to close runs that were cancelled."""
NOISY: Final = ("agents", "asyncio", "httpx", "openai", "openai.agents", "uvicorn")


def perform(demo: Demo, screen: Screen, stop: StopSignal) -> None:
    """Run the fleet until the time is up or a stop is asked for; every run is counted then."""
    set_tracing_disabled(False)  # whatever OPENAI_AGENTS_DISABLE_TRACING says
    set_trace_processors([])  # the SDK's own exporter would want a key and a network
    with _quiet_logs(screen):
        watcher = tocsin.install(demo.options.port, slas=SLAS, alert_service=Alerts(screen))
        try:
            demo.watch(watcher.families, watcher.server.port if watcher.server else None)
            if screen.line_width is None:
                screen.say(demo.note)  # the next picture is seconds away
            asyncio.run(_drive(demo, screen, stop, watcher))
        finally:
            demo.freeze()
            screen.refresh()
            watcher.close()


async def _drive(demo: Demo, screen: Screen, stop: StopSignal, watcher: Watcher) -> None:
    options = demo.options
    llm = FakeLLM(models=fake_models(WORKFLOWS), seed=options.seed, recorded=1)
    with llm:
        async with connect(llm.base_url) as client:
            fleet = Fleet(client)
            keeping_fresh = asyncio.create_task(_keep_fresh(screen))
            running = asyncio.create_task(fleet.run(arrivals(options.seed, options.rate)))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait(
                [running, stopped], timeout=options.seconds, return_when="FIRST_COMPLETED"
            )
            await _end(running)
            demo.announce_end()
            await fleet.finish(DRAIN_S)
            await _end(stopped)
            await asyncio.to_thread(_settle, watcher, fleet.started.total())
            await _end(keeping_fresh)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _keep_fresh(screen: Screen) -> None:
    while True:
        await asyncio.sleep(REFRESH_S)
        await asyncio.to_thread(screen.refresh)


def _settle(watcher: Watcher, started: int) -> None:
    """Wait until every run that was started is counted as ended."""
    deadline_s = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline_s:
        watcher.flush()
        if (Snapshot(watcher.families()).total(m.RUNS) or 0) >= started:
            return
        time.sleep(0.05)


class _Lines(logging.Handler):
    """Shows Tocsin's own warnings as lines, so that they do not tear the picture."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def _quiet_logs(screen: Screen) -> Iterator[None]:
    """Show Tocsin's warnings on the screen, and what others log not at all."""
    own = logging.getLogger("tocsin")
    others = [logging.getLogger(name) for name in NOISY]
    before = own.handlers, own.propagate, [logger.level for logger in others]
    own.handlers, own.propagate = [_Lines(screen)], False
    for logger in others:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        own.handlers, own.propagate, levels = before
        for logger, level in zip(others, levels, strict=True):
            logger.setLevel(level)
