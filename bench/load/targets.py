"""Servers to measure: how each is started, and how one learns what it has committed."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.request import urlopen

import msgspec
import psutil

__all__ = ["Target", "start_mlflow", "start_phoenix", "start_tocsin", "stop", "tree_of"]

STORED = re.compile(rb"^tocsin_store_spans_total (\S+)", re.MULTILINE)
START_S = 120.0


class Target(msgspec.Struct, frozen=True):
    """A running server. counts: its /metrics page, or the SQLite file whose spans are counted."""

    name: str
    pid: int
    http_port: int
    counts: str
    grpc_port: int = 0
    headers: str = ""

    def committed(self) -> int:
        """How many spans it has committed since it began."""
        if not self.counts.startswith("http"):
            uri = f"file:{self.counts}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
                return int(database.execute("SELECT count(*) FROM spans").fetchone()[0])
        with urlopen(self.counts) as page:
            found = STORED.search(page.read())
        return int(float(found[1])) if found else 0


class Start(Protocol):
    """Starts a server that keeps its data in a directory."""

    def __call__(self, python: str, data: Path) -> Target: ...


def start_tocsin(python: str, data: Path) -> Target:
    """Start `tocsin serve` as everybody does, on free ports."""
    addresses = [f"--{name}=127.0.0.1:0" for name in ("listen", "otlp-http", "otlp-grpc")]
    command = [python, "-m", "tocsin", "serve", f"--data={data}", *addresses]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    lines = [server.stdout.readline() for _ in range(4)]
    ports = {line.partition(" on ")[0]: int(line.rpartition(":")[2]) for line in lines[1:]}
    counts = f"http://127.0.0.1:{ports['HTTP']}/metrics"
    return Target("Tocsin", server.pid, ports["OTLP/HTTP"], counts, ports["OTLP/gRPC"])


def start_phoenix(python: str, data: Path) -> Target:
    """Start Phoenix on SQLite, as it comes."""
    port, grpc = _free_port(), _free_port()
    settings = {
        "PHOENIX_WORKING_DIR": str(data),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
    }
    pid = _spawn([python, "-m", "phoenix.server.main", "serve"], settings, data)
    return _wait(Target("Phoenix", pid, port, str(data / "phoenix.db"), grpc))


def start_mlflow(python: str, data: Path) -> Target:
    """Start MLflow on SQLite, as it comes; spans go to its default experiment."""
    port = _free_port()
    command = [python, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--backend-store-uri=sqlite:///{data / 'mlflow.db'}"]
    command += [f"--default-artifact-root={data / 'artifacts'}"]
    headers = "x-mlflow-experiment-id: 0\r\n"
    pid = _spawn(command, {}, data)
    return _wait(Target("MLflow", pid, port, str(data / "mlflow.db"), headers=headers))


def tree_of(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def stop(target: Target) -> None:
    """End a server and all of its processes."""
    processes = tree_of(target.pid)
    processes[0].terminate()
    _, alive = psutil.wait_procs(processes, timeout=30)
    for process in alive:
        process.kill()


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def _spawn(command: list[str], settings: Mapping[str, str], data: Path) -> int:
    with (data / "log").open("w") as log:
        environment = {**os.environ, **settings}
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=data).pid


def _wait(target: Target) -> Target:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", target.http_port), 1).close()
            target.committed()
        except (OSError, sqlite3.Error):
            time.sleep(0.5)
        else:
            return target
    stop(target)
    sys.exit(f"{target.name} did not start; see its log")
