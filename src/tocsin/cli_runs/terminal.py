"""What all commands write on: a terminal, or a pipe."""

import io
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console_of", "print_json"]

PIPED_WIDTH: Final = 200


def print_json(document: object) -> None:
    """Write what the API says, for programs."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(document)).decode()
    sys.stdout.write(f"{text}\n")


def console_of() -> "Console":
    """Return the terminal, or a pipe so wide that nothing is cut."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars, where only ASCII can be written
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)
