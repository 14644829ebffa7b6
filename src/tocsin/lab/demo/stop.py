"""Ctrl-C and SIGTERM: the first asks the demo to end, the second ends it."""

import asyncio
import signal
from types import FrameType
from typing import Any, Self

__all__ = ["StopSignal"]


class StopSignal:
    """Remembers that the user asked to stop, before and while an event loop runs."""

    def __init__(self) -> None:
        self.is_set = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    async def wait(self) -> None:
        """Return once it is asked for."""
        event = asyncio.Event()
        self._waiting = (asyncio.get_running_loop(), event)
        if not self.is_set:
            await event.wait()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        if self._waiting is not None:
            loop, event = self._waiting
            loop.call_soon_threadsafe(event.set)
