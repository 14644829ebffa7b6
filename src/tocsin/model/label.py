"""Names that come from outside, made fit for labels, logs and screens."""

from typing import Final

__all__ = ["GROUP_TAG", "MAX_NAME", "UNKNOWN", "clean_name", "clean_tag"]

UNKNOWN: Final = "unknown"
"""Stands where a name is missing or is not text."""

MAX_NAME: Final = 128
"""Characters of a name that are kept."""


MAX_NUMBER: Final = 10**30
"""Tags above it are none: Python refuses to write numbers of thousands of digits."""

GROUP_TAG: Final = "group_id"
"""Tag that runs with a group id (a conversation) have without being given it."""


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


def clean_tag(value: object) -> str | None:
    """Return a tag's value as a name: metadata may hold numbers; None for what is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return clean_name(str(value)) if not isinstance(value, int) or abs(value) < MAX_NUMBER else None
