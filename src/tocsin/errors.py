"""One tree of errors: catch `TocsinError` for anything this package raises on purpose."""

__all__ = ["ConfigError", "DecodeError", "TocsinError"]


class TocsinError(Exception):
    """Base of every error raised by Tocsin."""


class ConfigError(TocsinError):
    """A setting is wrong; the message says which one and what to write instead."""


class DecodeError(TocsinError):
    """Bytes from outside are not what they claim to be; the message says why."""
