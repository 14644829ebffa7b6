"""Where data is kept unless someone says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["EVENTS", "STORE", "default_data"]

EVENTS: Final = "events.db"
"""Where in a data directory is what was raised."""
STORE: Final = "store"
"""Folder of the span store in a data directory."""


def default_data(environment: Mapping[str, str] = os.environ) -> Path:
    """Return $XDG_DATA_HOME/tocsin, or ~/.local/share/tocsin where that is not set.

    A relative $XDG_DATA_HOME counts as not set, as the XDG specification demands.
    """
    home = Path(environment.get("XDG_DATA_HOME", ""))
    return (home if home.is_absolute() else Path("~/.local/share").expanduser()) / "tocsin"
