"""Dead letters: accepted bodies that could not be processed, kept where a person can look."""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from tocsin.errors import StoreError
from tocsin.store.record import Record
from tocsin.store.segment import sync_directory

__all__ = ["DeadLetters"]

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 64 << 20
BODY: Final = ".body"
NOTE: Final = ".json"


class DeadLetters:
    """Two files per body: `N.body` as it came, `N.json` with reason and time; N is its number.

    max_bytes: beyond it the oldest go. Raises StoreError where the disk refuses.
    """

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {directory}: {error.strerror}") from error

    def bury(self, record: Record, reason: str) -> None:
        """Keep a body, durably; the same body again replaces itself."""
        name = f"{record.seq:020d}"
        note = {"reason": reason, "format": record.kind, "received_ns": record.received_ns}
        try:
            _write(self.directory / (name + BODY), record.body)
            _write(self.directory / (name + NOTE), msgspec.json.encode(note) + b"\n")
            sync_directory(self.directory)
            self._forget_oldest()
        except OSError as error:
            raise StoreError(f"cannot write to {self.directory}: {error.strerror}") from error
        logger.error("body %d was put aside in %s: %s", record.seq, self.directory, reason)

    def _forget_oldest(self) -> None:
        bodies = sorted(self.directory.glob(f"*{BODY}"))
        size = sum(path.stat().st_size for path in bodies)
        for path in bodies[:-1]:
            if size <= self._max_bytes:
                return
            size -= path.stat().st_size
            path.unlink(missing_ok=True)
            path.with_suffix(NOTE).unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        path.chmod(0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
