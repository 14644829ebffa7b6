"""What can be set in `tocsin.yaml`."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, field_validator

from tocsin.config.budgets import BudgetEntry
from tocsin.config.section import Section
from tocsin.config.workflows import DEFAULT_DAYS, Workflow, kept_at_most
from tocsin.errors import ConfigError, QueryError
from tocsin.guard.budgets import Budget
from tocsin.guard.limits import StopLimits
from tocsin.model.address import Address
from tocsin.model.moment import NS_PER_S, parse_duration
from tocsin.pricing.rates import parse_overrides
from tocsin.runs.limits import WorkflowSLA

__all__ = ["LATER", "Content", "Otlp", "Retention", "Settings"]

NS_PER_DAY: Final = 86_400 * NS_PER_S
DUCKDB: Final = "duckdb://"
LATER: Final = ("rules", "alerting", "auth")
"""Keys that this version does not know yet."""


def _address(text: object) -> Address:
    try:
        return Address.parse(str(text))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _days(text: object) -> int:
    advice = f"{text!r} is not a time of whole days; write 30d"
    try:
        days, rest = divmod(parse_duration(str(text)), NS_PER_DAY)
    except QueryError as error:
        raise ValueError(advice) from error
    if rest or not 1 <= days <= 3650 or str(text).isdecimal():
        raise ValueError(advice)
    return days


def _pattern(text: object) -> str:
    try:
        return re.compile(str(text)).pattern
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error


def _directory(text: object) -> Path:
    path = str(text).removeprefix(DUCKDB)
    if not str(text).startswith(DUCKDB) or not path:
        raise ValueError(f"{text!r} is no store; write duckdb:// and a directory")
    return Path(path).expanduser()


AddressText = Annotated[Address, BeforeValidator(_address)]


class Otlp(Section):
    """Where OTLP is received."""

    http: AddressText = Address("127.0.0.1", 4318)
    grpc: AddressText = Address("127.0.0.1", 4317)


class Retention(Section):
    """How long things are kept."""

    spans: Annotated[int, BeforeValidator(_days)] = DEFAULT_DAYS
    """Whole days, besides today; runs and hourly sums go with them."""


class Content(Section):
    """Prompts, completions, tool arguments and results."""

    keep: bool = False
    redact: tuple[Annotated[str, BeforeValidator(_pattern)], ...] = ()
    """Regular expressions; what they match is replaced, besides keys, cards and the like."""


class Settings(Section):
    """The whole file; every key is optional."""

    listen: AddressText = Address("127.0.0.1", 8001)
    otlp: Otlp = Otlp()
    store: Annotated[Path, BeforeValidator(_directory)] | None = None
    """Data directory; None for the default one."""
    retention: Retention = Retention()
    content: Content = Content()
    prices: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Model -> USD per million tokens by input, output, cache_read, cache_write, reasoning."""
    workflows: dict[str, Workflow] = Field(default_factory=dict)
    """Service levels and hard limits by workflow; "*": of all that have no entry."""
    budgets: tuple[BudgetEntry, ...] = ()
    """What may be spent per hour, day or month."""

    @property
    def slas(self) -> dict[str, WorkflowSLA]:
        """Service levels by workflow, over no longer a time than runs are kept."""
        return {
            name: kept_at_most(one.sla.sla, self.retention.spans)
            for name, one in self.workflows.items()
            if one.sla is not None
        }

    @property
    def stops(self) -> dict[str, StopLimits]:
        """Hard limits by workflow."""
        return {n: one.stop.limits for n, one in self.workflows.items() if one.stop is not None}

    @property
    def spending(self) -> list[Budget]:
        """The budgets, as the rest of the program takes them."""
        return [entry.budget for entry in self.budgets]

    @field_validator("prices")
    @classmethod
    def _check_prices(cls, prices: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        try:
            parse_overrides(prices)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return prices
