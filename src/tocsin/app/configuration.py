"""`tocsin.yaml` in the watched program: the same limits and prices as in a server."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tocsin.errors import ConfigError
from tocsin.guard.budgets import Budget
from tocsin.guard.limits import StopLimits
from tocsin.runs.limits import WorkflowSLA

__all__ = ["Limits", "read_limits"]

Prices = Mapping[str, Mapping[str, object]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What runs are held to, and what their tokens cost."""

    slas: Mapping[str, WorkflowSLA] = {}
    stops: Mapping[str, StopLimits] = {}
    prices: Prices = {}
    budgets: Sequence[Budget] = ()

    def overridden(self, **given: Mapping[str, Any] | None) -> "Limits":
        """Return these with what was given in code, which goes first, entry by entry."""
        fields = {name: {**getattr(self, name), **(one or {})} for name, one in given.items()}
        return msgspec.structs.replace(self, **fields)

    def with_budgets(self, given: Sequence[Budget]) -> "Limits":
        """Return these with budgets given in code, which go before those of the same name."""
        names = {getattr(budget, "name", None) for budget in given}
        own = [budget for budget in self.budgets if budget.name not in names]
        return msgspec.structs.replace(self, budgets=[*own, *given])


def read_limits(path: str | os.PathLike[str]) -> Limits:
    """Read a file; its parts that concern only a server are checked and left aside.

    Raises ConfigError with a line FILE:LINE:COLUMN for every problem.
    """
    try:
        # Here, not above: the watched program needs YAML for this alone (import-linter knows).
        from tocsin.config.load import load_settings
    except ImportError as error:
        raise ConfigError(
            f"config: reading {os.fspath(path)} needs more packages ({error.name} is missing):"
            ' pip install "tocsin[server]"'
        ) from error
    settings = load_settings(Path(path))
    return Limits(
        slas=settings.slas,
        stops=settings.stops,
        prices=settings.prices,
        budgets=settings.spending,
    )
