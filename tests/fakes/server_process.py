"""`tocsin serve` as a process of its own, on free ports."""

import signal
import sys
from pathlib import Path

from tests.fakes.process import START_S, Program, Start, fetch, wait_for

FREE = "127.0.0.1:0"


class ServerProcess:
    """A started server; `start` ends it with the test if nobody did."""

    def __init__(self, start: Start, data: Path) -> None:
        self.data = data
        listen = [f"{option}={FREE}" for option in ("--listen", "--otlp-http", "--otlp-grpc")]
        command = [sys.executable, "-m", "tocsin", "serve", f"--data={data}", *listen]
        self.program: Program = start(command=command)
        wait_for(lambda: len(self.addresses) == 3 or self.program.is_over(), START_S)
        assert len(self.addresses) == 3, self.program.errors

    @property
    def addresses(self) -> dict[str, str]:
        """Where it says that it listens: HTTP, OTLP/HTTP, OTLP/gRPC -> host:port."""
        said = self.program.output.rpartition("\n")[0].splitlines()
        return dict(line.split(" on ") for line in said if " on 127.0.0.1:" in line)

    def metrics(self) -> str:
        """The page at /metrics."""
        return fetch(int(self.addresses["HTTP"].rpartition(":")[2]), "/metrics")

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self.program.process.send_signal(signal.SIGTERM)
        return self.program.exit_code()
