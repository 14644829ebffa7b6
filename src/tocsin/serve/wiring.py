"""What the receiver is connected to: the check, the decoding and the store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tocsin.api.intake import Check
from tocsin.api.wellformed import check
from tocsin.app.ingest import Store
from tocsin.store.record import Record

__all__ = ["NullStore", "Wire", "Wiring", "null_wiring"]


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """The parts behind the receiver."""

    check: Check
    process: Callable[[Record], Sequence[Any]]
    store: Store[Any]
    close: Callable[[], None] = lambda: None
    description: str
    """What becomes of a span, for the line that the server prints."""


Wire = Callable[[Path | None, Path], Wiring]
"""Makes the parts of a configuration file, if there is one, and a data directory."""


class NullStore:
    """Keeps nothing."""

    def __init__(self) -> None:
        self._position = 0

    def position(self) -> int:
        """Return the last position committed since the start."""
        return self._position

    def commit(self, batch: Sequence[Any], position: int) -> None:
        """Forget the rows."""
        self._position = position


def null_wiring(_config: Path | None, _data: Path) -> Wiring:
    """Accept everything that is well-formed and forget it. Until decoder and store are here."""
    return Wiring(
        check=check,
        process=lambda _: (),
        store=NullStore(),
        description="spans are accepted and forgotten: no store is connected",
    )
