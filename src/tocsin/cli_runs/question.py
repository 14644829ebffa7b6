"""Commands that ask a server one question and draw its answer as a table."""

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tocsin.cli_runs.terminal import DEFAULT_URL, console_of, print_json
from tocsin.errors import QueryError, TocsinError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tocsin.cli_runs.source import Server

    Answer = tuple[object, Callable[[Any], RenderableType]]

__all__ = ["add_question"]


def add_question(
    subparsers: Any, name: str, text: str, ask: "Callable[[Server, argparse.Namespace], Answer]"
) -> argparse.ArgumentParser:
    """Add a command to the command line's parsers; its `run` returns the exit status.

    ask: asks the server, and returns what it said and what draws that. It is called only where the
    packages for both are there, and may raise TocsinError.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="what the API says, for programs")
    parser.add_argument(
        "--url", metavar="URL", default=DEFAULT_URL, help="of a server (default: %(default)s)"
    )
    parser.set_defaults(run=lambda options: _run(name, options, ask))
    return parser


def _run(
    name: str,
    options: argparse.Namespace,
    ask: "Callable[[Server, argparse.Namespace], Answer]",
) -> int:
    if find_spec("rich") is None:
        sys.stderr.write(f'tocsin {name} needs more packages: pip install "tocsin[server]"\n')
        return 2
    from tocsin.cli_runs.source import Server

    try:
        found, draw = ask(Server(options.url), options)
    except TocsinError as error:
        sys.stderr.write(f"tocsin {name}: {error}\n")
        return 2 if isinstance(error, QueryError) else 1
    if options.json:
        print_json(found)
    else:
        console_of().print(draw(found))
    return 0
