"""Tools that are hand-offs in truth, and who hands over to whom."""

import re
from typing import Final

import msgspec

from tocsin.model.label import clean_name

__all__ = ["target", "target_in_arguments"]

HANDOFF: Final = re.compile(r"(?:transfer|hand[_ ]?off)[_ ]to[_ ](.+)|handoff", re.I)
GENERIC: Final = "agent"
"""`transfer_to_agent` has its target in the arguments."""
MAX_ARGUMENTS: Final = 65_536


class Arguments(msgspec.Struct):
    """The argument of a hand-off tool that names an agent."""

    agent_name: str | None = None


def target(tool: str) -> str | None:
    """The agent that a tool of this name hands over to; "" if it is a hand-off to anyone.

    LlamaIndex' tool is just called `handoff`.

    None for all other tools.
    """
    match = HANDOFF.fullmatch(tool)
    if match is None:
        return None
    return "" if match[1] is None or match[1].lower() == GENERIC else match[1]


def target_in_arguments(arguments: object) -> str | None:
    """The agent named in a hand-off tool's JSON arguments."""
    if not isinstance(arguments, str) or len(arguments) > MAX_ARGUMENTS:
        return None
    try:
        return clean_name(msgspec.json.decode(arguments, type=Arguments).agent_name)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
