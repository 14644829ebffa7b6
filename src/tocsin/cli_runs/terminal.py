"""What all commands write on: a terminal, or a pipe."""

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["DEFAULT_URL", "console_of", "empty_table", "print_json"]

DEFAULT_URL: Final = "http://127.0.0.1:8001"
"""Where a server listens unless it was told otherwise."""

PIPED_WIDTH: Final = 200


def print_json(document: object) -> None:
    """Write what the API says, for programs."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(document)).decode()
    sys.stdout.write(f"{text}\n")


def empty_table(headers: Sequence[str], numbers: Sequence[str]) -> "Table":
    """Return a table to add rows to, its numbers to the right; only its first column is folded."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.header_style = table.border_style = "dim"
    for header in headers:
        justify = "right" if header in numbers else "left"
        table.add_column(header, justify=justify, no_wrap=header != headers[0])  # type: ignore[arg-type]
    return table


def console_of() -> "Console":
    """Return the terminal, or a pipe so wide that nothing is cut."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars, where only ASCII can be written
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)
