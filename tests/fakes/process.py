"""Start programs as processes of their own, and look at them from outside."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
START_S = 30.0
"""Importing the SDK takes seconds, on a busy machine many."""
SHARED_DIR = "PROMETHEUS_MULTIPROC_DIR"
SETTINGS = ("LANGCHAIN", "LANGSMITH", "LOGFIRE", "OPENAI", "OTEL", "PROM")
"""Beginnings of the names of variables that a program does not inherit from whoever runs tests."""

Start = Callable[..., "Program"]


class Program:
    """A started process, its output in files."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str]) -> None:
        self._out, self._err = folder / "out", folder / "err"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**inherited, "OPENAI_API_KEY": "x", **env},
            )

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._err.read_text()

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.errors.splitlines() if line.startswith("WARNING:tocsin")]

    def said(self, lines: int = 1, timeout_s: float = START_S) -> list[Any]:
        """Wait for lines of output; return all of them."""
        wait_for(lambda: self._out.read_text().count("\n") >= lines or self.is_over(), timeout_s)
        found = [json.loads(line) for line in self._out.read_text().splitlines()]
        assert len(found) >= lines, self.errors
        return found

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def exit_code(self, timeout_s: float = START_S) -> int:
        """Wait for the end."""
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """Kill it and everything that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def wait_for(holds: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Ask every 20 ms; say whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def fetch(port: int, path: str) -> str:
    """Return a page, or "" where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def scrape(port: int, name: str, **labels: str) -> float | None:
    """Sum of a metric's samples with these labels; None where nobody answers."""
    page = fetch(port, "/metrics")
    if not page:
        return None
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Start one of `tests.fakes.programs`, or a command; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def run(*arguments: str, command: list[str] | None = None, **env: str) -> Program:
            own = folder / f"program-{time.monotonic_ns()}"
            own.mkdir()
            module = [sys.executable, "-m", "tests.fakes.programs", *arguments]
            program = Program(command or module, own, env)
            stack.callback(program.stop)
            return program

        yield run
