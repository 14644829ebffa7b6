"""The consumer: exactly once, in order, past poison, through a store that fails."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from tocsin.errors import DecodeError, StoreError
from tocsin.serve import consumer
from tocsin.serve.consumer import Backpressure, Consumer
from tocsin.store.dead import DeadLetters
from tocsin.store.journal import Journal
from tocsin.store.record import Record


class Rows:
    """A store in memory that can be told to refuse."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.commits: list[int] = []
        self.failures: list[Exception] = []
        """Raised by the next commits, first one first."""
        self.never: str | None = None
        """A row that no commit with it gets past."""

    def position(self) -> int:
        return self.commits[-1] if self.commits else 0

    def commit(self, batch: Sequence[str], position: int) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if self.never in batch:
            raise ValueError(f"cannot store {self.never}")
        self.rows += batch
        self.commits.append(position)

    def idle(self) -> None:
        pass


def letters(record: Record) -> list[str]:
    if record.body.startswith(b"!"):
        raise DecodeError("not for us")
    return list(record.body.decode())


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal")
    yield opened
    opened.close()


@pytest.fixture
def dead(tmp_path: Path) -> DeadLetters:
    return DeadLetters(tmp_path / "dead")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "BACKOFF_S", (0.001, 0.01))


def put(journal: Journal, *bodies: bytes) -> None:
    for future in [journal.append(body, 1, 99) for body in bodies]:
        future.result(10)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_rows_are_committed_in_order_with_the_position(journal: Journal, dead: DeadLetters) -> None:
    store = Rows()
    put(journal, b"ab", b"cd")
    assert Consumer(journal, store, letters, dead).step()
    assert (list("abcd"), [2]) == (store.rows, store.commits)
    assert 0 == journal.backlog_bytes


def test_goes_on_from_the_stores_position(journal: Journal, dead: DeadLetters) -> None:
    store = Rows()
    store.commits = [1]
    put(journal, b"ab", b"cd")
    Consumer(journal, store, letters, dead).step()
    assert list("cd") == store.rows


def test_nothing_to_do(journal: Journal, dead: DeadLetters) -> None:
    assert not Consumer(journal, Rows(), letters, dead).step()


def test_poison_is_put_aside_and_counted(journal: Journal, dead: DeadLetters) -> None:
    store = Rows()
    put(journal, b"a", b"!poison", b"b")
    consumer = Consumer(journal, store, letters, dead)
    consumer.step()
    assert (["a", "b"], [3], 1) == (store.rows, store.commits, consumer.counts.dead)
    name = f"{2:020d}"
    assert b"!poison" == (dead.directory / f"{name}.body").read_bytes()
    note = msgspec.json.decode((dead.directory / f"{name}.json").read_bytes())
    assert {"reason": "DecodeError: not for us", "format": 1, "received_ns": 99} == note


def test_only_poison_moves_on_too(journal: Journal, dead: DeadLetters) -> None:
    store = Rows()
    put(journal, b"!poison")
    Consumer(journal, store, letters, dead).step()
    assert ([], [1]) == (store.rows, store.commits)


def test_body_whose_rows_the_store_never_takes_is_put_aside(
    journal: Journal, dead: DeadLetters
) -> None:
    store = Rows()
    store.never = "x"
    put(journal, b"a", b"xy", b"b")
    consumer = Consumer(journal, store, letters, dead)
    consumer.step()
    assert (["a", "b"], [1, 2, 3], 1) == (store.rows, store.commits, consumer.counts.dead)


def test_refusing_store_is_asked_until_it_takes_the_rows(
    journal: Journal, dead: DeadLetters, caplog: pytest.LogCaptureFixture
) -> None:
    store = Rows()
    store.failures = [StoreError("the database is locked")] * 3
    put(journal, b"ab")
    calls: list[int] = []

    def process(record: Record) -> list[str]:
        calls.append(record.seq)
        return letters(record)

    consumer = Consumer(journal, store, process, dead)
    consumer.step()
    assert (list("ab"), [1]) == (store.rows, calls)
    assert (3, None) == (consumer.counts.store_errors, consumer.fault)
    assert 1 == caplog.text.count("the database is locked; accepted bodies wait in the journal")
    assert "the store takes rows again" in caplog.text


def test_dead_letter_that_cannot_be_written_is_not_lost(
    journal: Journal, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StoreError("disk full")] * 2
    bury = dead.bury

    def bury_or_fail(record: Record, reason: str) -> None:
        if failures:
            raise failures.pop()
        bury(record, reason)

    monkeypatch.setattr(dead, "bury", bury_or_fail)
    put(journal, b"!poison")
    Consumer(journal, Rows(), letters, dead).step()
    assert 1 == len(list(dead.directory.glob("*.body")))


def test_thread_processes_and_drains(journal: Journal, dead: DeadLetters) -> None:
    store = Rows()
    consumer = Consumer(journal, store, letters, dead)
    consumer.start()
    put(journal, b"a")
    until(lambda: store.rows == ["a"])
    put(journal, *(f"{number}".encode() for number in range(500)))
    assert consumer.stop(10)
    assert 501 == journal.last_seq == store.position()


def test_stop_leaves_what_the_store_does_not_take(journal: Journal, dead: DeadLetters) -> None:
    store = Rows()
    store.failures = [StoreError("locked")] * 10**6
    put(journal, b"a", b"!poison")
    consumer = Consumer(journal, store, letters, dead)
    consumer.start()
    assert not consumer.stop(0.1)
    store.failures = []
    Consumer(journal, store, letters, dead).step()
    assert (["a"], [2]) == (store.rows, store.commits)


def test_unreadable_journal_is_tried_again(
    journal: Journal, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError("I/O error")] * 3
    read = journal.read

    def read_or_fail(after: int) -> list[Record]:
        if failures:
            raise failures.pop()
        return read(after)

    monkeypatch.setattr(journal, "read", read_or_fail)
    store = Rows()
    consumer = Consumer(journal, store, letters, dead)
    consumer.start()
    put(journal, b"a")
    until(lambda: store.rows == ["a"])
    assert consumer.stop(10)


def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path, max_bytes=250)
    for seq in range(1, 6):
        dead.bury(Record(seq, 1, 0, bytes(100)), "bad")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [f"{seq:020d}.{suffix}" for seq in (4, 5) for suffix in ("body", "json")] == names


def test_backpressure_holds_until_the_low_water_mark() -> None:
    waiting = [0]
    pressure = Backpressure(lambda: waiting[0], high_bytes=100, low_bytes=50)

    def refuses(size: int) -> bool:
        waiting[0] = size
        return pressure.refusal() is not None

    assert [False, False, True, True, True, False, False] == [
        refuses(size) for size in (0, 100, 101, 99, 51, 50, 100)
    ]
