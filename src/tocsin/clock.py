"""Time, injected: what decides never reads the clock itself."""

import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock"]


class Clock(Protocol):
    """Two clocks in nanoseconds: one to tell the time, one to measure durations."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go backwards, from an arbitrary start."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may jump."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go backwards, from an arbitrary start."""
        return time.monotonic_ns()


SYSTEM_CLOCK = SystemClock()
