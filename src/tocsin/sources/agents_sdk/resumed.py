"""What a run that is resumed has used before it was paused, as far as its state tells."""

from typing import Any

import msgspec

from tocsin.model.span import Usage
from tocsin.sources.agents_sdk import fields

__all__ = ["UsedBefore", "used_before"]


class UsedBefore(msgspec.Struct, frozen=True):
    """Sum of a paused run's calls; the state does not say which models made them."""

    usage: Usage | None
    turns: int
    agent: Any
    """The agent that was paused."""


def used_before(run_input: object) -> UsedBefore | None:
    """Read a RunState that a run is to go on from; None for any other input."""
    if isinstance(run_input, str | list):
        return None
    context = getattr(run_input, "_context", None)
    if context is None:
        return None
    turns = getattr(run_input, "_current_turn", 0)
    return UsedBefore(
        usage=fields.usage(getattr(context, "usage", None)),
        turns=turns if isinstance(turns, int) else 0,
        agent=getattr(run_input, "_current_agent", None),
    )
