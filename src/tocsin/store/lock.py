"""One process per data directory."""

import fcntl
import os
from pathlib import Path
from typing import Final

from tocsin.errors import StoreError

__all__ = ["DirectoryLock"]

LOCK_NAME: Final = "lock"


class DirectoryLock:
    """Holds a directory until `release` or the process's end, kill -9 included.

    Creates it where there is none, for this user only: bodies hold prompts.
    Raises StoreError naming the process that has it.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"cannot use {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise StoreError(
                f"{directory} is in use by process {holder or 'unknown'}; "
                "stop that process or choose another data directory"
            ) from error
        self._write_pid(directory)

    def release(self) -> None:
        """Let another process have the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_pid(self, directory: Path) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            # A full disk: the lock holds all the same, only its message is poorer.
            if os.fstat(self._fd).st_size:
                self.release()
                raise StoreError(f"cannot write to {directory}: {error.strerror}") from error
