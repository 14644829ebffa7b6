"""What every part of the configuration file has in common."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Section", "read_by"]


class Section(BaseModel):
    """Part of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def read_by(parse: Callable[[object], Any], form: str) -> BeforeValidator:
    """Read a value by a function that returns None for what it cannot read.

    form: what to write instead, in words.
    """

    def read(written: object) -> Any:
        parsed = None if written is None else parse(written)
        if parsed is None:
            raise ValueError(f"{written!r} is not right here; write {form}")
        return parsed

    return BeforeValidator(read)
