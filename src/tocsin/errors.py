"""One tree of errors: catch `TocsinError` for anything this package raises on purpose."""

__all__ = ["ConfigError", "TocsinError"]


class TocsinError(Exception):
    """Base of every error raised by Tocsin."""


class ConfigError(TocsinError):
    """A setting is wrong; the message says which one and what to write instead."""
