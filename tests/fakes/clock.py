"""A clock that moves only when it is told to."""

from datetime import UTC, datetime
from typing import Final

NS: Final = 1_000_000_000
NOON_NS: Final = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()) * NS
"""Where the wall clock of tests starts."""


class ManualClock:
    """A tocsin.clock.Clock; the two clocks can be moved together or the wall clock alone."""

    def __init__(self, wall_ns: int = NOON_NS, monotonic_ns: int = 0) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_ns += int(seconds * NS)
        self._monotonic_ns += int(seconds * NS)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forwards or back."""
        self._wall_ns += int(seconds * NS)
