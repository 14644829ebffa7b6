"""A receiver in a process of its own: python -m tests.fakes.receiver DATA JOURNAL_BYTES"""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.span_store import wire
from tocsin.model.address import Address
from tocsin.serve.command import run_server
from tocsin.serve.options import ServerOptions

ROOT = Path(__file__).parent.parent.parent
PURPOSES = ("HTTP", "OTLP/HTTP", "OTLP/gRPC")


class Receiver:
    """Starts the process, and knows its addresses once it answers."""

    def __init__(self, data: Path, *, journal_bytes: int = 8 << 20) -> None:
        command = [sys.executable, "-m", __name__, str(data), str(journal_bytes)]
        self.log = data.parent / f"{data.name}.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
        self.addresses: dict[str, str] = {}

    def ready(self) -> Self:
        """Wait for the addresses."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            purpose, _, address = line.strip().partition(" on ")
            if purpose in PURPOSES:
                self.addresses[purpose] = address
            if len(self.addresses) == len(PURPOSES):
                return self
        raise RuntimeError(f"the receiver did not start: {self.log.read_text()}")

    def __enter__(self) -> Self:
        return self.ready()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.returncode is None:
            self.kill()

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self._forget()

    def stop(self) -> int:
        """SIGTERM; return the exit status."""
        self.process.terminate()
        return self._forget()

    def _forget(self) -> int:
        status = self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


def main() -> int:
    free = Address("127.0.0.1", 0)
    options = ServerOptions(
        data=Path(sys.argv[1]),
        journal_bytes=int(sys.argv[2]),
        listen=free,
        otlp_http=free,
        otlp_grpc=free,
    )
    return run_server(options, wire)


if __name__ == "__main__":
    raise SystemExit(main())
