"""The bounded queue between the user's threads and the worker."""

from collections import deque
from itertools import count
from typing import Final

from tocsin.sources.agents_sdk.events import Event

__all__ = ["EventQueue"]

DEFAULT_LIMIT: Final = 20_000


class EventQueue:
    """Holds at most `limit` events; what comes beyond is dropped and counted.

    `put` takes no lock and never blocks. Under several threads it may exceed the limit by as
    many events as there are threads.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self._events: deque[Event] = deque()
        self._drops = count()

    def __len__(self) -> int:
        """Events waiting."""
        return len(self._events)

    def put(self, event: Event) -> None:
        """Append an event, or count it as dropped."""
        if len(self._events) < self.limit:
            self._events.append(event)
        else:
            next(self._drops)  # atomic, unlike +=

    def put_always(self, event: Event) -> None:
        """Append an event of our own, which is never dropped."""
        self._events.append(event)

    def take(self) -> Event | None:
        """Remove the oldest event; None when there is none."""
        try:
            return self._events.popleft()
        except IndexError:
            return None

    @property
    def dropped(self) -> int:
        """Events dropped so far."""
        # itertools.count shows its value only in its repr and its pickle form.
        return int(self._drops.__reduce__()[1][0])

    def reset_after_fork(self) -> None:
        """Forget the parent's events: it processes them itself."""
        self._events.clear()
        self._drops = count()
