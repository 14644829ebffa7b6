"""`tocsin` as a command, and `tocsin serve` as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.process import Program, Start, wait_for


def tocsin(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tocsin", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TZ": "UTC", "PYTHONUTF8": "1", **env},
        timeout=60,
        check=False,
    )


def serve(start: Start, data: Path, *more: str) -> tuple[Program, Mapping[str, str]]:
    """Start a server on free ports; return its addresses by purpose."""
    options = ("--listen", "--otlp-http", "--otlp-grpc")
    places = [part for option in options for part in (option, "127.0.0.1:0")]
    command = [sys.executable, "-m", "tocsin", "serve", "--data", str(data), *places, *more]
    program: Program = start(command=command)
    assert wait_for(lambda: program._out.read_text().count("\n") >= 4, 30), program.errors
    lines = program._out.read_text().splitlines()[1:]
    return program, {purpose: place for purpose, _, place in (s.partition(" on ") for s in lines)}
