"""The `tocsin slas` command."""

import argparse
import urllib.parse
from typing import TYPE_CHECKING, Any

from tocsin.cli_runs.question import add_question

if TYPE_CHECKING:
    from tocsin.cli_runs.question import Answer
    from tocsin.cli_runs.source import Server

__all__ = ["add_slas_command"]


def add_slas_command(subparsers: Any) -> None:
    """Add `slas` to the command line's parsers."""
    text = "say how well runs keep to their service levels, and what is left of the error budget"
    parser = add_question(subparsers, "slas", text, _ask)
    parser.add_argument("--workflow", metavar="W", help="only this workflow")


def _ask(server: "Server", options: argparse.Namespace) -> "Answer":
    from tocsin.api.slas import SlasDocument
    from tocsin.cli_runs.levels import table_of

    query = {} if options.workflow is None else {"workflow": options.workflow}
    path = f"/api/v1/slas?{urllib.parse.urlencode(query)}"
    return server.ask(path, SlasDocument), table_of
