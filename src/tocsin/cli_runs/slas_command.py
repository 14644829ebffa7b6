"""The `tocsin slas` command."""

import argparse
import sys
import urllib.parse
from importlib.util import find_spec
from typing import Any, Final

from tocsin.cli_runs.terminal import console_of, print_json
from tocsin.errors import QueryError, TocsinError

__all__ = ["add_slas_command"]

URL: Final = "http://127.0.0.1:8001"


def add_slas_command(subparsers: Any) -> None:
    """Add `slas` to the command line's parsers; its `run` returns the exit status."""
    text = "say how well runs keep to their service levels, and what is left of the error budget"
    parser = subparsers.add_parser("slas", help=text, description=text)
    parser.add_argument("--workflow", metavar="W", help="only this workflow")
    parser.add_argument("--json", action="store_true", help="what the API says, for programs")
    parser.add_argument(
        "--url", metavar="URL", default=URL, help="of a server (default: %(default)s)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if find_spec("rich") is None:
        sys.stderr.write('tocsin slas needs more packages: pip install "tocsin[server]"\n')
        return 2
    from tocsin.api.slas import SlasDocument
    from tocsin.cli_runs.levels import table_of
    from tocsin.cli_runs.source import Server

    query = {} if options.workflow is None else {"workflow": options.workflow}
    try:
        path = f"/api/v1/slas?{urllib.parse.urlencode(query)}"
        found = Server(options.url).ask(path, SlasDocument)
    except TocsinError as error:
        sys.stderr.write(f"tocsin slas: {error}\n")
        return 2 if isinstance(error, QueryError) else 1
    if options.json:
        print_json(found)
    else:
        console_of().print(table_of(found))
    return 0
