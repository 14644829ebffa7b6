"""What the receiver is connected to: the check, the decoding and the store."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tocsin.api.budgets import Desk
from tocsin.api.events import EventReader
from tocsin.api.intake import Check
from tocsin.api.wellformed import check
from tocsin.config.settings import Settings
from tocsin.guard.leases import TERMS, Terms
from tocsin.meters.record import Recorder
from tocsin.meters.registry import Registry
from tocsin.runs.limits import WorkflowSLA
from tocsin.serve.consumer import Store
from tocsin.store.base import RunReader
from tocsin.store.location import EVENTS, STORE
from tocsin.store.record import Record
from tocsin.store.redaction import Redactor

__all__ = ["NullStore", "Wire", "Wiring", "embedded_wiring", "null_wiring"]

QUERY_S: Final = 10.0
"""How long a question about runs may take."""
STORE_MB: Final = 128
"""What DuckDB may take before it spills to disk: with what else is in memory, 400 MB at most."""


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """The parts behind the receiver."""

    check: Check
    process: Callable[[Record], Sequence[Any]]
    store: Store[Any]
    reader: RunReader | None = None
    """Answers questions about runs; None where nothing is kept that could be asked about."""
    slas: Mapping[str, WorkflowSLA] = {}
    events: EventReader | None = None
    """Answers what was raised."""
    budgets: Desk | None = None
    """Knows what is spent, and leases it to workers; None where nothing is kept."""
    close: Callable[[], None] = lambda: None
    description: str
    """What becomes of a span, for the line that the server prints."""


Wire = Callable[[Settings, Path, Registry], Wiring]
"""Makes the parts, given settings, a data directory, and metrics."""


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

    def idle(self) -> None:
        """Nothing is ever due."""


def embedded_wiring(
    settings: Settings, data: Path, registry: Registry, *, terms: Terms = TERMS
) -> Wiring:
    """Decode every dialect, count, and keep spans and runs in DuckDB."""
    # Here, not above: the receiving end alone starts without the database and the price list.
    from tocsin.pricing.catalogue import PriceBook
    from tocsin.runs.traces import TraceBook
    from tocsin.serve.budget_desk import BudgetDesk
    from tocsin.serve.charging import Charger
    from tocsin.serve.counting import RunCounter
    from tocsin.serve.levels import Bell, Levels
    from tocsin.serve.trace_sink import TraceSink
    from tocsin.store.embedded.store import EmbeddedStore
    from tocsin.store.event_log import EventLog

    content = settings.content
    store = EmbeddedStore(
        data / STORE,
        retention_days=settings.retention.spans,
        content=Redactor(content.redact) if content.keep else None,
        memory_mb=STORE_MB,
    )
    prices, book, recorder = PriceBook(settings.prices), TraceBook(), Recorder(registry)
    log = EventLog(data / EVENTS)
    bell = Bell(log, [recorder])
    levels = Levels(settings.slas, prices, book, bell, registry)
    desk = BudgetDesk(settings.spending, store, terms=terms)
    counter = RunCounter(
        prices,
        [recorder, bell],
        charger=Charger(settings.spending),
        judge=levels.judge if settings.slas else None,
    )
    sink = TraceSink(
        store,
        book,
        counter,
        registry,
        budgets=desk,
        levels=levels,
        keep_content=content.keep,
    )
    for workflow, sla in settings.slas.items():
        recorder.watch_limits(workflow, sla.limits)

    def close() -> None:
        sink.close()
        log.close()

    return Wiring(
        check=check,
        process=sink.decode,
        store=sink,
        reader=store.patient_for(QUERY_S),
        slas=settings.slas,
        events=log,
        budgets=desk,
        close=close,
        description="spans and runs are kept in store/",
    )


def null_wiring(_settings: Settings, _data: Path, _registry: Registry) -> Wiring:
    """Accept everything that is well-formed and forget it: to measure the receiving end alone."""
    return Wiring(
        check=check,
        process=lambda _: (),
        store=NullStore(),
        description="spans are accepted and forgotten: no store is connected",
    )
