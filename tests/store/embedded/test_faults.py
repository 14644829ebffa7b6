import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.fakes.store_rows import DAY, START, make_call, make_span
from tocsin.errors import StoreError
from tocsin.store.base import Batch, RunQuery
from tocsin.store.embedded.faults import explain
from tocsin.store.embedded.store import EmbeddedStore

HOLD = """
import sys
from pathlib import Path
from tocsin.store.embedded.store import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("read_only", [False, True])
def test_names_the_process_that_has_the_directory(data: Path, read_only: bool) -> None:
    command = [sys.executable, "-c", HOLD, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreError, match=rf"data is in use by process {holder.pid} \("):
            EmbeddedStore(data, read_only=read_only)
        holder.kill()
    EmbeddedStore(data, read_only=read_only).close()


def test_reading_needs_something_to_read(data: Path) -> None:
    with pytest.raises(StoreError, match="holds no Tocsin data"):
        EmbeddedStore(data, read_only=True)
    assert not data.exists()


def test_sealed_files_without_their_database_are_not_overwritten(data: Path) -> None:
    store = EmbeddedStore(data)
    store.commit(Batch(spans=[make_span()]))
    store.seal(START + DAY)
    store.close()
    (data / "tocsin.duckdb").unlink()
    with pytest.raises(StoreError, match=r"holds sealed files, but .* is gone; restore it"):
        EmbeddedStore(data)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot use .*data: File exists"):
        EmbeddedStore(tmp_path / "data")


def test_a_database_that_is_none(data: Path) -> None:
    data.mkdir()
    (data / "tocsin.duckdb").write_text("mine" * 10_000)
    with pytest.raises(StoreError, match=r"tocsin\.duckdb: .*not a valid DuckDB database"):
        EmbeddedStore(data)


def test_a_closed_store_says_so(data: Path) -> None:
    store = EmbeddedStore(data)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.runs(RunQuery())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (duckdb.IOException("write: No space left on device"), "the disk of /d is full"),
        (duckdb.OutOfMemoryException("max is 1GB"), "reached its memory limit"),
        (duckdb.IOException("odd"), r"/d/tocsin\.duckdb: odd"),
    ],
)
def test_says_what_to_do(error: duckdb.Error, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        raise explain(error, Path("/d/tocsin.duckdb"))


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """Mount a disk of 24 MB, where we may."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Let no file grow beyond 24 MB."""
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24 << 20, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)


def fill(store: EmbeddedStore) -> int:
    """Commit until the disk refuses; return how many batches were acknowledged."""
    for position in range(1, 400):
        first = position * 1000
        attributes = {"filler": os.urandom(200).hex()}
        spans = [make_call(first + i, at=first + i, attributes=attributes) for i in range(1000)]
        try:
            store.commit(Batch(spans=spans, position=position))
        except StoreError as error:
            if "full, or a limit on file sizes" not in str(error):
                raise
            return position - 1
    raise AssertionError("the disk never filled up")


def count(store: EmbeddedStore) -> int:
    return len(store.unfinished(0))


@pytest.mark.slow
def test_a_full_disk_loses_nothing_committed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(6 << 20))
        store = EmbeddedStore(disk / "data")
        stored = fill(store)
        assert stored > 0
        ballast.unlink()
        assert stored == store.position()
        assert stored * 1000 == count(store)
        assert store.commit(Batch(spans=[make_span(0)], position=stored + 1))
        store.close()
        store = EmbeddedStore(disk / "data")
        assert stored * 1000 + 1 == count(store)
        store.close()


@pytest.mark.slow
def test_a_limit_on_files_loses_nothing_committed(data: Path) -> None:
    store = EmbeddedStore(data)
    with small_files():
        stored = fill(store)
    assert stored > 0
    assert (stored, stored * 1000) == (store.position(), count(store))
    store.close()
