"""The bounded queue between the user's threads and the worker."""

from collections import deque
from itertools import count
from typing import Any, Final

from tocsin.sources.agents_sdk.events import Event

__all__ = ["EventQueue"]

DEFAULT_LIMIT: Final = 20_000
FIELDS: Final = 4
"""Items per event. Events lie flat in the queue: a tuple each would be one more object for the
user's thread to make and for its garbage collector to visit."""


class EventQueue:
    """Holds at most `limit` events; what comes beyond is dropped and counted.

    `put` takes no lock and never blocks: `deque.extend` with a tuple is atomic, so an event is
    there whole or not at all. Under several threads it may exceed the limit by as many events as
    there are threads. One thread takes.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self.items: deque[Any] = deque()
        self.room = 0
        """Length of `items` below which anybody may extend it by an event without `put`."""
        self._drops = count()

    def __len__(self) -> int:
        """Events waiting."""
        return len(self.items) // FIELDS

    def put(self, event: Event) -> None:
        """Append an event, or count it as dropped."""
        if len(self.items) < self._limit * FIELDS:
            self.items.extend(event)
        else:
            next(self._drops)  # atomic, unlike +=

    def put_always(self, event: Event) -> None:
        """Append an event of our own, which is never dropped."""
        self.items.extend(event)

    def take(self) -> Event | None:
        """Remove the oldest event; None when there is none."""
        take = self.items.popleft
        return (take(), take(), take(), take()) if self.items else None

    def open(self) -> None:
        """Let everybody append directly: somebody takes."""
        self.room = self._limit * FIELDS

    def close(self) -> None:
        """Make everybody `put` again: nobody takes any more."""
        self.room = 0

    def refuse(self) -> None:
        """Drop whatever comes from now on."""
        self.room = self._limit = 0

    @property
    def dropped(self) -> int:
        """Events dropped so far."""
        # itertools.count shows its value only in its repr; its pickle form ends with Python 3.13.
        return int(repr(self._drops).removeprefix("count(").removesuffix(")"))

    def reset_after_fork(self) -> None:
        """Forget the parent's events: it processes them itself."""
        self.close()
        self.items.clear()
        self._drops = count()
