"""The `tocsin runs` command."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tocsin.cli_runs.terminal import DEFAULT_URL, console_of, print_json
from tocsin.errors import QueryError, TocsinError
from tocsin.model.run import Outcome
from tocsin.store.location import default_data

if TYPE_CHECKING:
    from tocsin.cli_runs.source import Source

__all__ = ["add_runs_command"]

FILTERS: Final = {
    "workflow": ("W", "only this workflow"),
    "outcome": ("O", f"failed, {', '.join(Outcome)}; several with commas"),
    "order": ("BY", "newest (default), slowest, costliest or most_tokens"),
    "since": ("TIME", "only runs that began in the last 30m, 24h, 7d"),
    "limit": ("N", "how many, up to 500 (default: 20)"),
}


def add_runs_command(subparsers: Any) -> None:
    """Add `runs` to the command line's parsers; its `run` returns the exit status."""
    text = "list stored runs, or show one of them"
    parser = subparsers.add_parser("runs", help=text, description=text)
    for name, (metavar, purpose) in FILTERS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=purpose)
    _add_common(parser, None)
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    text = "show a run and its spans"
    show = actions.add_parser("show", help=text, description=text)
    show.add_argument("id", metavar="ID", help="of the run, as listed, or how it begins")
    _add_common(show, argparse.SUPPRESS)
    show.set_defaults(run=_show)


def _add_common(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--json", action="store_true", default=default, help="what the API says, for programs"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--url",
        metavar="URL",
        default=default,
        help=f"of a server (default: {DEFAULT_URL}, if it answers)",
    )
    place.add_argument(
        "--data", type=Path, metavar="DIR", default=default,
        help="a data directory that no server uses (default, where no server answers:"
        f" $XDG_DATA_HOME/tocsin, which is {default_data()})",
    )  # fmt: skip


def _list(options: argparse.Namespace) -> int:
    return _run(options, _print_list)


def _show(options: argparse.Namespace) -> int:
    return _run(options, _print_run)


def _run(options: argparse.Namespace, print_: Any) -> int:
    if find_spec("rich") is None:
        sys.stderr.write('tocsin runs needs more packages: pip install "tocsin[server]"\n')
        return 2
    from tocsin.cli_runs.source import open_source

    try:
        source = open_source(options.url, options.data)
        try:
            print_(source, options)
        finally:
            source.close()
    except TocsinError as error:
        sys.stderr.write(f"tocsin runs: {error}\n")
        return 2 if isinstance(error, QueryError) else 1
    return 0


def _print_list(source: "Source", options: argparse.Namespace) -> None:
    from tocsin.cli_runs.listing import listing
    from tocsin.clock import SYSTEM_CLOCK

    given = {name: getattr(options, name) for name in FILTERS}
    parts = {"limit": "20"} | {name: value for name, value in given.items() if value is not None}
    page = source.runs(list(parts.items()))
    if options.json:
        print_json(page)
        return
    console = console_of()
    now_ns, whole_ids = SYSTEM_CLOCK.wall_ns(), not console.is_terminal
    console.print(listing(page, now_ns, width=console.width, whole_ids=whole_ids))


def _print_run(source: "Source", options: argparse.Namespace) -> None:
    from tocsin.cli_runs.tree import run_tree

    view = source.run(options.id)
    if options.json:
        print_json(view)
        return
    console = console_of()
    console.print(run_tree(view, width=console.width))
