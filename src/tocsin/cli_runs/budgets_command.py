"""The `tocsin budgets` command."""

import argparse
import sys
from importlib.util import find_spec
from typing import Any, Final

from tocsin.cli_runs.terminal import console_of, print_json
from tocsin.errors import TocsinError

__all__ = ["add_budgets_command"]

URL: Final = "http://127.0.0.1:8001"


def add_budgets_command(subparsers: Any) -> None:
    """Add `budgets` to the command line's parsers; its `run` returns the exit status."""
    text = "say what is spent of each budget, what is left, and what it will come to"
    parser = subparsers.add_parser("budgets", help=text, description=text)
    parser.add_argument("--json", action="store_true", help="what the API says, for programs")
    parser.add_argument(
        "--url", metavar="URL", default=URL, help="of a server (default: %(default)s)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if find_spec("rich") is None:
        sys.stderr.write('tocsin budgets needs more packages: pip install "tocsin[server]"\n')
        return 2
    from tocsin.cli_runs.budgets import table_of
    from tocsin.cli_runs.source import Server
    from tocsin.guard.wire import BUDGETS_PATH, BudgetsDocument

    try:
        found = Server(options.url).ask(BUDGETS_PATH, BudgetsDocument)
    except TocsinError as error:
        sys.stderr.write(f"tocsin budgets: {error}\n")
        return 1
    if options.json:
        print_json(found)
    else:
        console_of().print(table_of(found))
    return 0
