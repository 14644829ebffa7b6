"""Many at a time, or one alone."""

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["Gate"]


class Gate:
    """Lets readers through side by side, unless someone asks to be alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Be one of many; waits while someone is, or waits to be, alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self, timeout_s: float) -> Iterator[bool]:
        """Be the only one; yields False where the others do not leave in time.

        One thread at a time may ask.
        """
        with self._changed:
            self._closed = True
            are_gone = self._changed.wait_for(lambda: self._inside == 0, timeout_s)
        try:
            yield are_gone
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
