"""Names that come from outside, made fit for labels, logs and screens."""

from typing import Final

__all__ = ["MAX_NAME", "UNKNOWN", "clean_name"]

UNKNOWN: Final = "unknown"
"""Stands where a name is missing or is not text."""

MAX_NAME: Final = 128
"""Characters of a name that are kept."""


def clean_name(value: object) -> str | None:
    """Return a name on one line and at most MAX_NAME long; None where there is none.

    Control characters, line breaks and lone surrogates become spaces, so a name can forge neither
    a log line nor an exposition line, and can always be encoded.
    """
    if not isinstance(value, str):
        return None
    name = value[:MAX_NAME]
    if not name.isprintable():
        name = "".join(char if char.isprintable() else " " for char in name)
    return name.strip() or None
