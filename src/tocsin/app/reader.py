"""The SDK's events -> records, with a count of what could not be read."""

from collections import Counter
from typing import Final

from tocsin.meters import catalogue as m
from tocsin.meters.cardinality import OTHER
from tocsin.meters.registry import Readings
from tocsin.sources.agents_sdk.decode import Decoder, Malformed, Record
from tocsin.sources.agents_sdk.events import Event

__all__ = ["EventReader"]

MAX_REASONS: Final = 100
"""Reasons of malformed events that are told apart; a program can make up exception types."""


class EventReader:
    """Decodes events, whatever they hold. Not thread-safe; the worker owns it."""

    def __init__(self, *, open_ttl_ns: int) -> None:
        self.decoder = Decoder(open_ttl_ns=open_ttl_ns)
        self.events = 0
        self._malformed: Counter[str] = Counter()

    def read(self, event: Event) -> Record | None:
        """Turn an event into a record; None where it is none by itself, or cannot be read."""
        self.events += 1
        try:
            return self.decoder.decode(event)
        except Malformed as reason:
            self._count(str(reason))
        except Exception as error:  # noqa: BLE001 - a span's fields may raise anything
            self._count(type(error).__name__[:40])
        return None

    def totals(self) -> Readings:
        """Events, and those that could not be read, as metrics."""
        return {
            (m.EVENTS, ()): self.events,
            (m.UNTRACED_RUNS, ()): self.decoder.untraced_runs,
            (m.MALFORMED, ("unreadable fields",)): self.decoder.unreadable_spans,
            **{(m.MALFORMED, (reason,)): count for reason, count in self._malformed.items()},
        }

    def _count(self, reason: str) -> None:
        is_room = reason in self._malformed or len(self._malformed) < MAX_REASONS
        self._malformed[reason if is_room else OTHER] += 1
