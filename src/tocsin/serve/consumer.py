"""From the journal to the store: each accepted body exactly once, whatever fails on the way."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from tocsin.errors import StoreError
from tocsin.store.dead import DeadLetters
from tocsin.store.journal import Journal
from tocsin.store.record import Record

__all__ = ["Backpressure", "Consumer", "ConsumerCounts", "Store"]

logger = logging.getLogger(__name__)

IDLE_S: Final = 0.5
BACKOFF_S: Final = (0.05, 5.0)

Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)


class Store(Protocol[Row_contra]):
    """Where rows go. StoreError says "not now"; anything else says "never, these rows"."""

    def position(self) -> int:
        """Return the number of the last record that need not be read again; 0 at first."""
        ...

    def commit(self, batch: Sequence[Row_contra], position: int) -> None:
        """Take the rows up to a position; once on disk, `position` says so."""
        ...

    def idle(self) -> None:
        """Do what is due while nothing comes in."""
        ...


class Backpressure:
    """Says when senders must wait: from the high-water mark of waiting bytes to the low one."""

    def __init__(
        self, waiting: Callable[[], int], *, high_bytes: int, low_bytes: int | None = None
    ) -> None:
        self._waiting = waiting
        self._high_bytes = high_bytes
        self._low_bytes = high_bytes // 2 if low_bytes is None else low_bytes
        self._behind = False

    def refusal(self) -> str | None:
        """Return why no body can be taken now; None where it can."""
        waiting = self._waiting()
        limit = self._low_bytes if self._behind else self._high_bytes
        behind = waiting > limit
        if behind != self._behind:
            logger.warning(
                "%d MB wait for the store: %s",
                *(waiting >> 20, "senders are told to wait" if behind else "open again"),
            )
        self._behind = behind
        return f"{waiting >> 20} MB wait to be processed" if behind else None


class ConsumerCounts(msgspec.Struct):
    """What has happened since the start."""

    bodies: int = 0
    commits: int = 0
    dead: int = 0
    store_errors: int = 0
    """Commits that had to be repeated."""


class Consumer(Generic[Row]):
    """Reads bodies after the store's position, makes rows of them, commits rows and position.

    process: a body's rows; whatever it raises makes that body a dead letter. What the store
    refuses for now is tried again until it takes it; meanwhile the journal grows.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store[Row],
        process: Callable[[Record], Sequence[Row]],
        dead: DeadLetters,
    ) -> None:
        self._journal = journal
        self._store = store
        self._process = process
        self._dead = dead
        self.position = store.position()
        self.counts = ConsumerCounts()
        self.fault: str | None = None
        """Why the store refused last; None once it took something."""
        self._draining = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Go on from the store's position, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Process what is left, for at most `timeout_s`; False if some is left for next time."""
        self._draining = True
        self._journal.wake()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._stop.set()
            self._thread.join()
        return self.position >= self._journal.last_seq

    def step(self, timeout_s: float = 0.0) -> bool:
        """Process what can be read at once; False where there is nothing."""
        if not self._journal.wait(self.position, timeout_s, unless=lambda: self._draining):
            self._retry(self._store.idle)
            self._journal.trim(self._store.position())
            return False
        records = self._journal.read(self.position)
        if not records:
            return False
        self._commit(records, [self._rows(record) for record in records])
        return True

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                if not self.step(IDLE_S) and self._draining:
                    return
                failures = 0
            except _OutOfTimeError:
                return
            except Exception as error:
                # The disk, most likely: what is accepted stays, so going on is all there is to do.
                self.fault = str(error)
                failures += 1
                if failures == 1:
                    logger.exception("cannot process accepted bodies; trying again")
                self._stop.wait(_backoff_s(failures))

    def _rows(self, record: Record) -> Sequence[Row]:
        try:
            rows = self._process(record)
        except Exception as error:  # noqa: BLE001 - one bad body never stops the others
            self._bury(record, error)
            return ()
        self.counts.bodies += 1
        return rows

    def _bury(self, record: Record, error: Exception) -> None:
        self._retry(lambda: self._dead.bury(record, f"{type(error).__name__}: {error}"))
        self.counts.dead += 1

    def _commit(self, records: Sequence[Record], rows: Sequence[Sequence[Row]]) -> None:
        batch = [row for part in rows for row in part]
        position = records[-1].seq
        try:
            self._retry(lambda: self._store.commit(batch, position))
        except _OutOfTimeError:
            raise
        except Exception as error:
            if not batch:
                raise
            self._commit_apart(records, rows, error)
            return
        self.counts.commits += 1
        self.position = position
        self._journal.trim(self._store.position())

    def _commit_apart(
        self, records: Sequence[Record], rows: Sequence[Sequence[Row]], error: Exception
    ) -> None:
        """Find the body whose rows the store never takes; commit the others."""
        if len(records) == 1:
            self._bury(records[0], error)
            self._commit(records, [()])
            return
        for record, part in zip(records, rows, strict=True):
            self._commit([record], [part])

    def _retry(self, action: Callable[[], None]) -> None:
        failures = 0
        while True:
            try:
                action()
                break
            except StoreError as error:
                failures += 1
                self._note(error)
            if self._stop.wait(_backoff_s(failures)):
                raise _OutOfTimeError
        if failures:
            logger.warning("the store takes rows again")
        self.fault = None

    def _note(self, error: StoreError) -> None:
        self.counts.store_errors += 1
        if self.fault is None:
            logger.error("%s; accepted bodies wait in the journal", error)
        self.fault = str(error)


class _OutOfTimeError(Exception):
    """The drain's time is over; what is left waits in the journal for the next start."""


def _backoff_s(failures: int) -> float:
    least, most = BACKOFF_S
    return min(most, least * 2.0 ** min(failures, 10))
