"""The `tocsin budgets` command."""

import argparse
from typing import TYPE_CHECKING, Any

from tocsin.cli_runs.question import add_question

if TYPE_CHECKING:
    from tocsin.cli_runs.question import Answer
    from tocsin.cli_runs.source import Server

__all__ = ["add_budgets_command"]


def add_budgets_command(subparsers: Any) -> None:
    """Add `budgets` to the command line's parsers."""
    text = "say what is spent of each budget, what is left, and what it will come to"
    add_question(subparsers, "budgets", text, _ask)


def _ask(server: "Server", _options: argparse.Namespace) -> "Answer":
    from tocsin.cli_runs.budgets import table_of
    from tocsin.guard.wire import BUDGETS_PATH, BudgetsDocument

    return server.ask(BUDGETS_PATH, BudgetsDocument), table_of
