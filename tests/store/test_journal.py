"""The journal: what is durable, what is refused, what is found again after any kind of end."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.errors import StoreError
from tocsin.store.journal import Journal, JournalFullError
from tocsin.store.record import HEADER_BYTES, Record
from tocsin.store.segment import SUFFIX, Segment

KB = 1024
PROTOBUF = 1


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    opened: list[Journal] = []

    def open_(**options: int) -> Journal:
        for journal in opened:
            journal.close()
        opened[:] = [Journal(tmp_path / "journal", **options)]
        return opened[0]

    yield open_
    for journal in opened:
        journal.close()


def put(journal: Journal, *bodies: bytes) -> list[int]:
    futures = [journal.append(body, PROTOBUF, 7) for body in bodies]
    return [future.result(10) for future in futures]


def bodies(journal: Journal, after: int = 0) -> list[bytes]:
    found: list[bytes] = []
    while records := journal.read(after):
        found += [record.body for record in records]
        after = records[-1].seq
    return found


def files(journal: Journal) -> list[Path]:
    return sorted(journal.directory.glob(f"*{SUFFIX}"))


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [f"{number:09d}".encode().ljust(size, b".") for number in range(count)]


def test_numbers_ascend_from_one(open_journal: Callable[..., Journal]) -> None:
    assert [1, 2, 3] == put(open_journal(), b"a", b"b", b"c")


def test_reads_records_after_a_number(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal()
    put(journal, b"a", b"b")
    assert [Record(2, PROTOBUF, 7, b"b")] == journal.read(1)


def test_read_stops_at_its_limits(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal()
    put(journal, *numbered(10))
    assert 3 == len(journal.read(0, limit=3))
    assert 2 == len(journal.read(0, max_bytes=250))
    assert 1 == len(journal.read(0, max_bytes=1))


def test_finds_everything_again(open_journal: Callable[..., Journal]) -> None:
    put(open_journal(), *numbered(50))
    journal = open_journal()
    assert numbered(50) == bodies(journal)
    assert [51] == put(journal, b"next")


def test_repeated_body_keeps_its_number(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal()
    put(journal, b"a", b"b")
    assert [1] == put(journal, b"a")
    assert [b"a", b"b"] == bodies(journal)
    assert 1 == journal.counts.duplicates


def test_repeated_body_is_known_after_a_restart_and_a_trim(
    open_journal: Callable[..., Journal],
) -> None:
    journal = open_journal()
    put(journal, b"a")
    journal.trim(1)
    assert [1] == put(open_journal(position=1), b"a")


def test_one_fsync_for_many_bodies(
    open_journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    first_may_end = threading.Event()
    write = Segment.write

    def slow(segment: Segment, buffers: list[bytes]) -> None:
        first_may_end.wait(10)
        write(segment, buffers)

    monkeypatch.setattr(Segment, "write", slow)
    journal = open_journal()
    futures = [journal.append(body, PROTOBUF, 7) for body in numbered(100)]
    assert not any(future.done() for future in futures)
    first_may_end.set()
    assert list(range(1, 101)) == [future.result(10) for future in futures]
    assert journal.counts.groups <= 2


def test_acknowledged_only_after_the_fsync(
    open_journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, may_end = threading.Event(), threading.Event()

    def sync(fd: int) -> None:
        reached.set()
        may_end.wait(10)
        os.fsync(fd)

    journal = open_journal()
    monkeypatch.setattr("tocsin.store.segment._sync", sync)
    future = journal.append(b"a", PROTOBUF, 7)
    assert reached.wait(10)
    assert not future.done()
    assert (0, []) == (journal.last_seq, journal.read(0))
    may_end.set()
    assert 1 == future.result(10)


def test_trim_frees_the_disk(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal(segment_bytes=10 * KB, max_bytes=400 * KB)
    for body in numbered(100, KB):
        put(journal, body)
    assert 100 * KB < journal.disk_bytes()
    journal.trim(journal.last_seq)
    assert 0 == journal.backlog_bytes
    assert journal.disk_bytes() == sum(path.stat().st_size for path in files(journal))
    assert journal.disk_bytes() <= 22 * KB  # the file in use, and the kept one


def test_trimmed_records_stay_trimmed(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal(segment_bytes=10 * KB, max_bytes=400 * KB)
    put(journal, *numbered(60, KB))
    journal.trim(40)
    backlog = journal.backlog_bytes
    again = open_journal(segment_bytes=10 * KB, max_bytes=400 * KB, position=40)
    assert backlog == again.backlog_bytes == 20 * (KB + HEADER_BYTES)
    assert numbered(60, KB)[40:] == bodies(again, 40)


def test_full_journal_refuses_until_trimmed(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal(segment_bytes=10 * KB, max_bytes=100 * KB)
    many = numbered(200, KB)
    with pytest.raises(JournalFullError, match="wait for the store"):
        put(journal, *many)
    while journal.wait(journal.last_seq, 0.1):
        pass
    assert 60 < journal.last_seq < 100
    assert journal.disk_bytes() <= 100 * KB
    journal.trim(journal.last_seq)
    assert [journal.last_seq + 1] == put(journal, b"room again")


def test_second_process_is_told_who_has_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    code = (
        "from pathlib import Path; from tocsin.store.journal import Journal;"
        f"Journal(Path({str(tmp_path)!r}))"
    )
    second = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    journal.close()
    assert f"is in use by process {os.getpid()}; stop that process" in second.stderr


def test_numbering_goes_on_from_the_stores_position(
    open_journal: Callable[..., Journal], caplog: pytest.LogCaptureFixture
) -> None:
    put(open_journal(), b"a")
    journal = open_journal(position=5_000_000)
    assert "the journal ends at record 1, the store has 5000000" in caplog.text
    assert [5_000_001] == put(journal, b"b")
    again = open_journal(position=5_000_000)
    assert [b"b"] == bodies(again, 5_000_000)


def test_says_when_the_store_is_older_than_the_journal(
    open_journal: Callable[..., Journal], caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_journal(segment_bytes=2 * KB, max_bytes=100 * KB)
    for body in numbered(20, KB):
        put(journal, body)
    journal.trim(20)
    open_journal(segment_bytes=2 * KB, max_bytes=100 * KB, position=3)
    assert "the store has record 3, the journal begins at" in caplog.text


def test_closed_journal_refuses(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal()
    open_journal()
    with pytest.raises(StoreError, match="closed"):
        journal.append(b"late", PROTOBUF, 7)


# -- torn and damaged files ------------------------------------------------------------------------


@settings(max_examples=30)
@given(cut=st.integers(min_value=1, max_value=100 + HEADER_BYTES))
def test_torn_tail_costs_only_the_last_record(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    directory = tmp_path_factory.mktemp("torn")
    journal = Journal(directory)
    put(journal, *numbered(10))
    journal.close()
    path = files(journal)[-1]
    os.truncate(path, path.stat().st_size - cut)

    journal = Journal(directory)
    assert numbered(9) == bodies(journal)
    assert 100 + HEADER_BYTES - cut == journal.counts.torn_bytes
    assert [10] == put(journal, b"after the tear")
    journal.close()
    journal = Journal(directory)
    assert [*numbered(9), b"after the tear"] == bodies(journal)
    assert 0 == journal.counts.torn_bytes
    journal.close()


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xf5Toc" * 50, os.urandom(3000)])
def test_garbage_behind_the_end_is_cut_off(
    tmp_path: Path, tail: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    put(journal, *numbered(10))
    journal.close()
    with files(journal)[-1].open("ab") as file:
        file.write(tail)
    journal = Journal(tmp_path)
    assert numbered(10) == bodies(journal)
    assert len(tail) == journal.counts.torn_bytes
    assert f"{len(tail)} bytes after record 10 are torn or damaged and were cut off" in caplog.text
    journal.close()


@given(at=st.integers(min_value=0, max_value=10 * (100 + HEADER_BYTES) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_record(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    directory = tmp_path_factory.mktemp("bit")
    journal = Journal(directory)
    put(journal, *numbered(10))
    journal.close()
    path = files(journal)[-1]
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)

    journal = Journal(directory)
    expected = numbered(10)
    del expected[at // (100 + HEADER_BYTES)]
    assert expected == bodies(journal)
    is_last = at >= 9 * (100 + HEADER_BYTES)  # whose damage looks like a torn write
    assert (not is_last, is_last) == (journal.counts.damaged == 1, journal.counts.torn_bytes > 0)
    journal.close()


def test_damage_while_running_is_skipped_counted_and_logged(
    open_journal: Callable[..., Journal], caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_journal()
    put(journal, *numbered(5))
    with files(journal)[0].open("r+b") as file:
        file.seek(2 * (100 + HEADER_BYTES) + HEADER_BYTES)
        file.write(b"XXXX")
    expected = numbered(5)
    del expected[2]
    assert expected == bodies(journal) == bodies(journal)
    assert 1 == journal.counts.damaged
    assert "record 3" in caplog.text


def test_all_records_of_a_read_may_be_damaged(open_journal: Callable[..., Journal]) -> None:
    journal = open_journal()
    put(journal, *numbered(4))
    size = 3 * (100 + HEADER_BYTES)
    with files(journal)[0].open("r+b") as file:
        file.write(b"\xff" * size)
    assert [numbered(4)[3]] == [record.body for record in journal.read(0, limit=2)]


def test_a_number_that_is_none_of_ours_is_ignored(tmp_path: Path) -> None:
    other = Journal(tmp_path / "other", position=1 << 62)
    put(other, b"forged")
    other.close()
    journal = Journal(tmp_path / "journal")
    put(journal, b"a")
    journal.close()
    with files(journal)[0].open("ab") as file:
        file.write(files(other)[0].read_bytes())
    journal = Journal(tmp_path / "journal")
    assert [b"a"] == bodies(journal)
    assert [2] == put(journal, b"b")
    journal.close()


# -- a disk that refuses ---------------------------------------------------------------------------


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Return a function: an errno makes writes fail half way, None heals the disk."""
    fault: list[int | None] = [None]
    write = Segment.write

    def write_or_fail(segment: Segment, buffers: list[bytes]) -> None:
        if fault[0] is None:
            write(segment, buffers)
            return
        os.write(segment.fd, b"".join(buffers)[: 60 + len(buffers[0])])
        raise OSError(fault[0], os.strerror(fault[0]))

    monkeypatch.setattr(Segment, "write", write_or_fail)

    def set_fault(number: int | None) -> None:
        fault[0] = number

    return set_fault


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_failed_write_is_refused_and_leaves_nothing(
    open_journal: Callable[..., Journal], failing_disk: Callable[[int | None], None], number: int
) -> None:
    journal = open_journal()
    put(journal, *numbered(3))
    failing_disk(number)
    with pytest.raises(StoreError, match=os.strerror(number)):
        put(journal, b"refused")
    assert os.strerror(number) in (journal.fault or "")
    failing_disk(None)
    assert [5] == put(journal, b"accepted")
    assert journal.fault is None
    expected = [*numbered(3), b"accepted"]
    assert expected == bodies(journal)
    assert expected == bodies(open_journal())


def test_refused_body_may_be_sent_again(
    open_journal: Callable[..., Journal], failing_disk: Callable[[int | None], None]
) -> None:
    journal = open_journal()
    failing_disk(errno.ENOSPC)
    with pytest.raises(StoreError):
        put(journal, b"again")
    failing_disk(None)
    put(journal, b"again")
    assert [b"again"] == bodies(journal)


def test_writes_elsewhere_when_a_failed_write_cannot_be_undone(
    open_journal: Callable[..., Journal],
    failing_disk: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = open_journal()
    put(journal, b"a")
    failing_disk(errno.EIO)

    def cannot(segment: Segment) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "undo", cannot)
        with pytest.raises(StoreError):
            put(journal, b"b")
    failing_disk(None)
    put(journal, b"b", b"c")
    assert 2 == len(files(journal))
    assert [b"a", b"b", b"c"] == bodies(journal) == bodies(open_journal())


def test_disk_that_is_really_full(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the kernel writes a part, then refuses."""
    code = f"""
import resource
from pathlib import Path
from tocsin.errors import StoreError
from tocsin.store.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
journal, accepted = Journal(Path({str(tmp_path)!r})), 0
try:
    while True:
        body = str(accepted).encode().ljust(7000, b".")
        journal.append(body, 1, 0).result(10)
        accepted += 1
except StoreError as error:
    print(accepted, error)
import os; os._exit(0)
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    accepted, _, message = child.stdout.partition(" ")
    assert "File too large" in message
    journal = Journal(tmp_path)
    assert int(accepted) == len(bodies(journal)) == 7
    journal.close()


def test_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot use .*file"):
        Journal(tmp_path / "file" / "journal")


# -- against a model -------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3000)),
        st.tuples(st.just("trim"), st.integers(0, 40)),
        st.tuples(st.just("open"), st.just(0)),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_agrees_with_a_list(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    directory = tmp_path_factory.mktemp("model")
    limits = {"segment_bytes": 4 * KB, "max_bytes": 400 * KB}
    journal, model, position = Journal(directory, **limits), list[bytes](), 0
    for action, number in steps:
        if action == "put":
            body = f"{len(model)}".encode().ljust(number, b".")
            model.append(body)
            assert [len(model)] == put(journal, body)
        elif action == "trim":
            position = max(position, min(number, len(model)))
            journal.trim(position)
        else:
            journal.close()
            journal = Journal(directory, position=position, **limits)
        left = model[position:]
        assert left == bodies(journal, position)
        assert sum(map(len, left)) + HEADER_BYTES * len(left) == journal.backlog_bytes
        later = left[number:]
        size = sum(map(len, later)) + HEADER_BYTES * len(later)
        assert size == journal.bytes_after(position + number)
        assert (7 if later else None) == journal.received_after_ns(position + number)
    journal.close()
