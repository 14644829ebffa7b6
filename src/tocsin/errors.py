"""One tree of errors: catch `TocsinError` for anything this package raises on purpose."""

__all__ = ["ConfigError", "DecodeError", "StoreError", "TocsinError"]


class TocsinError(Exception):
    """Base of every error raised by Tocsin."""


class ConfigError(TocsinError):
    """A setting is wrong; the message says which one and what to write instead."""


class DecodeError(TocsinError):
    """Something received cannot be read, now or later; the message says what is wrong with it."""


class StoreError(TocsinError):
    """The disk or the database refused, for now; the same call may succeed later."""
