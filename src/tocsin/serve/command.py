"""The `tocsin serve` command."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tocsin.errors import TocsinError
from tocsin.store.location import default_data

if TYPE_CHECKING:
    from tocsin.serve.options import ServerOptions
    from tocsin.serve.wiring import Wire

__all__ = ["add_check_command", "add_serve_command", "run_server"]

PACKAGES: Final = (
    *("arro3.core", "duckdb", "google.rpc", "grpc", "pydantic", "starlette", "uvicorn", "yaml"),
)
COLLECT: Final = (50_000, 20, 50)
"""New objects until the young are looked at, and how often that until older ones are."""
ADDRESSES: Final = {
    "--listen": ("127.0.0.1:8001", "web page, API, /metrics, and OTLP over HTTP too"),
    "--otlp-http": ("127.0.0.1:4318", "OTLP over HTTP"),
    "--otlp-grpc": ("127.0.0.1:4317", "OTLP over gRPC"),
}


def add_serve_command(subparsers: Any) -> None:
    """Add `serve` to the command line's parsers; its `run` returns the exit status."""
    text = "receive traces over OTLP, durably"
    parser = subparsers.add_parser("serve", help=text, description=text)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="tocsin.yaml; what is given here goes before it"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="where everything is kept (default: $XDG_DATA_HOME/tocsin, which is "
        f"{default_data()})",
    )  # fmt: skip
    for option, (default, purpose) in ADDRESSES.items():
        parser.add_argument(
            option, metavar="HOST:PORT", help=f"{purpose}; port 0: a free one (default: {default})"
        )
    parser.set_defaults(run=_serve)


def add_check_command(subparsers: Any) -> None:
    """Add `check` to the command line's parsers."""
    text = "say what is wrong with a configuration file"
    parser = subparsers.add_parser("check", help=text, description=text)
    parser.add_argument("file", type=Path, metavar="FILE", help="tocsin.yaml")
    parser.set_defaults(run=_check)


def run_server(options: "ServerOptions", wire: "Wire") -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. Errors go to stderr."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(options, wire))
    except TocsinError as error:
        sys.stderr.write(f"tocsin serve: {error}\n")
        return 1
    return 0


async def _run(options: "ServerOptions", wire: "Wire") -> None:
    from tocsin.serve.server import Server

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(options, wire)
    try:
        await server.start()
        _collect_seldom()
        _say(f"data in {options.data}; {server.wiring.description}")
        for purpose, address in server.addresses.items():
            _say(f"{purpose} on {address}")
        await stopping.wait()
        _say("stopping")
    finally:
        done = await server.stop()
    if not done:
        _say("some accepted bodies are left in the journal for the next start")


def _serve(arguments: argparse.Namespace) -> int:
    if _lacks_packages("serve"):
        return 2
    from tocsin.serve.options import make_options
    from tocsin.serve.wiring import embedded_wiring

    try:
        options = make_options(arguments)
    except TocsinError as error:
        sys.stderr.write(f"tocsin serve: {error}\n")
        return 2
    return run_server(options, embedded_wiring)


def _check(arguments: argparse.Namespace) -> int:
    if _lacks_packages("check"):
        return 2
    from tocsin.config.load import load_settings

    try:
        load_settings(arguments.file)
    except TocsinError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _say(f"{arguments.file}: fine")
    return 0


def _lacks_packages(command: str) -> bool:
    lacks = any(find_spec(package) is None for package in PACKAGES)
    if lacks:
        sys.stderr.write(f'tocsin {command} needs more packages: pip install "tocsin[server]"\n')
    return lacks


def _collect_seldom() -> None:
    """Have the garbage collector look less often, and not at what is imported.

    A batch makes tens of thousands of objects, nearly all of which go without its help: looking at
    each 700 of them, as it does by itself, took 9 us of the 59 us that a span costs.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
