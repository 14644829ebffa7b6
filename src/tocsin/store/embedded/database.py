"""The DuckDB file: opened once, one transaction at a time written, any number read."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import duckdb

from tocsin.errors import StoreError
from tocsin.store.embedded.cursor import Cursor, first_row
from tocsin.store.embedded.faults import REFUSALS, explain, is_fatal
from tocsin.store.embedded.gate import Gate
from tocsin.store.embedded.schema import MIGRATIONS, check_version, migrate

__all__ = ["Database"]

logger = logging.getLogger(__name__)

FILE_NAME: Final = "tocsin.duckdb"
CHECKPOINT_AT_MB: Final = 64
"""Size of DuckDB's own log at which it is folded into the file. DuckDB does so by itself, but only
in a moment when nobody reads, which may never come."""
PAUSE_S: Final = 2.0
"""How long readers are kept out for that."""

SORT_MB: Final = 1024

Answer = TypeVar("Answer")


class Database:
    """A data directory's database, opened on first use and again after it broke.

    directory: holds the database, `spans/` with sealed files, `tmp/` for large sorts.
    memory_mb: what DuckDB may take before it spills to `tmp/`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        read_only: bool = False,
        memory_mb: int = 1024,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self.directory = directory
        self.spans_directory = directory / "spans"
        self._path = directory / FILE_NAME
        self._read_only = read_only
        self._migrations = migrations
        self._memory_mb = memory_mb
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(directory / "tmp"),
            "checkpoint_threshold": f"{CHECKPOINT_AT_MB}MB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._guard = threading.Lock()
        self._writer = threading.Lock()
        self._gate = Gate()
        self._checkpoint_at = CHECKPOINT_AT_MB << 20
        self._connection: Cursor | None = None
        self._closed = False
        self._connect()

    def read(self, question: Callable[[Cursor], Answer], timeout_s: float | None = None) -> Answer:
        """Ask on a cursor of its own, in one transaction: all it reads is of one moment.

        timeout_s: raises StoreError once it takes longer.
        Asked once more where a sealed file was dropped between its listing and its opening.
        """
        for is_last in (False, True):
            try:
                with (
                    self._gate.shared(),
                    self._transaction(commit=False) as cursor,
                    _within(cursor, timeout_s),
                ):
                    return question(cursor)
            except duckdb.InterruptException as error:
                message = f"the question took longer than {timeout_s:g} s; ask for less"
                raise StoreError(message) from error
            except duckdb.IOException as error:
                if is_last:
                    raise self._give_up(error) from error
            except REFUSALS as error:
                raise self._give_up(error) from error
        raise AssertionError

    def write(self, change: Callable[[Cursor], Answer]) -> Answer:
        """Make a change in one transaction, durable when this returns; one thread at a time."""
        try:
            with self._writer:
                with self._transaction(commit=True) as cursor:
                    answer = change(cursor)
                if self._log_bytes() >= self._checkpoint_at:
                    self._checkpoint()
                return answer
        except REFUSALS as error:
            raise self._give_up(error) from error

    def run(self, statement: str) -> None:
        """Execute a statement that stands outside any transaction of its own."""
        try:
            with self._gate.shared(), contextlib.closing(self._connect().cursor()) as cursor:
                cursor.execute(statement)
        except REFUSALS as error:
            raise self._give_up(error) from error

    @contextlib.contextmanager
    def roomy(self) -> Iterator[None]:
        """Let DuckDB take more memory for a while: sorting a day needs more than a server does."""
        self.run(f"SET GLOBAL memory_limit = '{max(SORT_MB, self._memory_mb)}MB'")
        try:
            yield
        finally:
            with contextlib.suppress(StoreError):  # it stays until next time, and nothing fails
                self.run(f"SET GLOBAL memory_limit = '{self._memory_mb}MB'")

    def checkpoint(self) -> None:
        """Fold the log into the file, keeping readers out meanwhile."""
        with self._writer:
            self._checkpoint()

    def _checkpoint(self) -> None:
        with self._gate.alone(PAUSE_S), contextlib.closing(self._connect().cursor()) as cursor:
            try:
                cursor.execute("CHECKPOINT")
            except duckdb.Error as error:
                # What was committed is in the log all the same; a later commit tries again.
                logger.info("%s: checkpoint put off: %s", self._path, error)
        # Where a long question kept us from it, not every commit shall wait again.
        self._checkpoint_at = self._log_bytes() + (CHECKPOINT_AT_MB << 20)

    def _log_bytes(self) -> int:
        try:
            return self._path.with_name(f"{FILE_NAME}.wal").stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Wait for the writer, fold the log into the file and unlock it."""
        with self._writer, self._guard:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _transaction(self, *, commit: bool) -> Iterator[Cursor]:
        with contextlib.closing(self._connect().cursor()) as cursor:
            cursor.execute("BEGIN TRANSACTION")
            try:
                yield cursor
                cursor.execute("COMMIT" if commit else "ROLLBACK")
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # a failed COMMIT has rolled back already
                    cursor.execute("ROLLBACK")
                raise

    def _connect(self) -> Cursor:
        with self._guard:
            if self._closed:
                raise StoreError(f"{self.directory} was closed")
            if self._connection is None:
                self._connection = self._open()
            return self._connection

    def _open(self) -> Cursor:
        if self._read_only and not self._path.exists():
            raise StoreError(f"{self.directory} holds no Tocsin data; choose another --data")
        try:
            if not self._read_only:
                self._make_directories()
            connection = duckdb.connect(
                str(self._path), read_only=self._read_only, config=self._config
            )
        except OSError as error:
            raise StoreError(f"cannot use {self.directory}: {error.strerror}") from error
        except duckdb.Error as error:
            raise explain(error, self._path) from error
        try:
            self._prepare(connection)
        except duckdb.Error as error:
            connection.close()
            raise explain(error, self._path) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_directories(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists() and any(self.spans_directory.glob("*.parquet")):
            raise StoreError(
                f"{self.spans_directory} holds sealed files, but {self._path} is gone; "
                "restore it, or move the files away to start anew"
            )
        self.spans_directory.mkdir(exist_ok=True)

    def _prepare(self, connection: Cursor) -> None:
        connection.execute("SET GLOBAL parquet_metadata_cache = true")  # for every cursor
        if self._read_only:
            row = first_row(connection, "SELECT max(version) FROM schema_version")
            check_version((row and row[0]) or 0, len(self._migrations))
            return
        connection.execute("BEGIN TRANSACTION")
        migrate(connection, self._migrations)
        connection.execute("COMMIT")

    def _give_up(self, error: duckdb.Error) -> StoreError:
        """Explain an error; where DuckDB shut the database, open it again on the next call."""
        if is_fatal(error):
            with self._guard:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
        return explain(error, self._path)


@contextlib.contextmanager
def _within(cursor: Cursor, timeout_s: float | None) -> Iterator[None]:
    """Interrupt what a cursor does once the time is over."""
    if timeout_s is None:
        yield
        return
    timer = threading.Timer(timeout_s, cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
