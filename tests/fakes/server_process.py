"""`tocsin serve` as a process of its own, on free ports."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.process import START_S, Program, Start, fetch, wait_for

OPTIONS = ("--listen", "--otlp-http", "--otlp-grpc")


class ServerProcess:
    """A started server; `start` ends it with the test if nobody did.

    more: options of the command. ports: of HTTP, OTLP/HTTP and OTLP/gRPC; 0 is any free one.
    is_awaited: until it listens.
    """

    def __init__(
        self,
        start: Start,
        data: Path,
        *more: str,
        ports: Sequence[int] = (0, 0, 0),
        is_awaited: bool = True,
        config: Path | None = None,
    ) -> None:
        self.data = data
        listen = [f"{o}=127.0.0.1:{port}" for o, port in zip(OPTIONS, ports, strict=True)]
        if config is not None:
            more = (*more, f"--config={config}")
        command = [sys.executable, "-m", "tocsin", "serve", f"--data={data}", *listen, *more]
        self.program: Program = start(command=command)
        if is_awaited:
            wait_for(lambda: len(self.addresses) == 3 or self.program.is_over(), START_S)
            assert len(self.addresses) == 3, self.program.errors

    @property
    def addresses(self) -> dict[str, str]:
        """Where it says that it listens: HTTP, OTLP/HTTP, OTLP/gRPC -> host:port."""
        said = self.program.output.rpartition("\n")[0].splitlines()
        return dict(line.split(" on ") for line in said if " on 127.0.0.1:" in line)

    def url(self, path: str, purpose: str = "OTLP/HTTP") -> str:
        return f"http://{self.addresses[purpose]}{path}"

    def metrics(self) -> str:
        """The page at /metrics."""
        return fetch(int(self.addresses["HTTP"].rpartition(":")[2]), "/metrics")

    def kill(self) -> None:
        """Kill -9."""
        self.program.process.kill()
        self.program.process.wait(10)

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self.program.process.send_signal(signal.SIGTERM)
        return self.program.exit_code()
