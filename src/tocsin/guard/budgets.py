"""What may be spent per hour, day or month, and on what, as it was written down and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, Final

import msgspec

from tocsin.errors import ConfigError
from tocsin.guard.periods import PERIODS, zone_of
from tocsin.guard.quantities import parse_percentage, parse_usd
from tocsin.model.label import clean_name, clean_tag

__all__ = ["ALERT_AT", "NO_TAGS", "Budget", "Work", "check_budgets"]

ALERT_AT: Final = (Decimal("0.5"), Decimal("0.8"), Decimal(1))
NO_TAGS: Final[Mapping[str, str]] = {}
COUNTED_BY: Final = ("name", "per", "timezone", "workflow", "model", "agent", "tags")
FAILURE_MODES: Final = ("open", "closed")


class Work(msgspec.Struct, frozen=True):
    """What an LLM call belongs to: what budgets are told apart by."""

    workflow: str
    """Of the outermost run, also for agents that it uses as tools."""
    model: str | None = None
    agent: str | None = None
    """The one that makes the call."""
    tags: Mapping[str, str] = NO_TAGS


@dataclass(frozen=True, slots=True)
class Budget:
    """US dollars per hour, day or month, for all calls or for some.

    A call counts where it fits everything that is given: one of the workflows, one of the models,
    one of the agents, and all tags. Raises ConfigError naming every wrong value at once.
    """

    name: str
    _: KW_ONLY
    limit: Decimal | float | str
    """USD: "50 USD", "$50" or 50."""
    per: str = "day"
    """hour, day or month, in the time zone."""
    timezone: str = "UTC"
    """IANA name: "Europe/Berlin"."""
    workflow: str | Sequence[str] | None = None
    model: str | Sequence[str] | None = None
    """As it is asked for."""
    agent: str | Sequence[str] | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    """Of the run's metadata: {"customer": "acme"}; "group_id" is the conversation."""
    alert_at: Sequence[Decimal | float | str] = ALERT_AT
    """Shares of the limit at which the alert service hears of it, once each per period."""
    stop_at: Decimal | float | str | None = None
    """Share of the limit that no call may pass: 1.2 or "120%"; None stops nothing."""
    on_failure: str = "open"
    """If Tocsin itself fails: "open" lets calls through, "closed" stops their runs."""

    def __post_init__(self) -> None:
        """Check every field at once, and keep what was written as numbers and tuples."""
        problems = [*self._identify(), *self._amounts(), *self._scope()]
        if problems:
            raise ConfigError(f"Budget {self.name!r}: " + "; ".join(problems))

    @property
    def stop_usd(self) -> Decimal | None:
        """USD that no call may pass; None where nothing is stopped."""
        return None if self.stop_at is None else self.limit * self.stop_at  # type: ignore[operator,return-value]

    @property
    def zone(self) -> tzinfo:
        """Its time zone."""
        return zone_of(self.timezone) or UTC

    def counts_like(self, other: "Budget") -> bool:
        """Whether the same calls count into both, in the same periods, whatever their limits."""
        return all(getattr(self, name) == getattr(other, name) for name in COUNTED_BY)

    def concerns(self, workflow: str, tags: Mapping[str, str]) -> bool:
        """Whether calls of a run, at least of some models or agents, count into this budget."""
        return (not self.workflow or workflow in self.workflow) and all(
            tags.get(tag) == value for tag, value in self.tags.items()
        )

    def covers(self, work: Work) -> bool:
        """Whether a call counts into this budget."""
        return (
            self.concerns(work.workflow, work.tags)
            and (not self.model or work.model in self.model)
            and (not self.agent or work.agent in self.agent)
        )

    def _identify(self) -> list[str]:
        problems = []
        if not is_name(self.name):
            problems.append("name: write a name of at most 128 characters on one line")
        if self.per not in PERIODS:
            problems.append(f"per: {self.per!r}; write one of {', '.join(PERIODS)}")
        if zone_of(self.timezone) is None:
            problems.append(
                f"timezone: {self.timezone!r} is not known; write a name such as Europe/Berlin"
                " (where the system has no time zones: pip install tzdata)"
            )
        if self.on_failure not in FAILURE_MODES:
            problems.append(f'on_failure: {self.on_failure!r}; write "open" or "closed"')
        return problems

    def _amounts(self) -> list[str]:
        limit, alerts = parse_usd(self.limit), parse_alerts(self.alert_at)
        stop = None if self.stop_at is None else parse_percentage(self.stop_at)
        problems = []
        if limit is None:
            problems.append(
                f"limit: {self.limit!r} is not an amount; write US dollars above 0, such as"
                ' "50 USD" or 50'
            )
        if alerts is None:
            problems.append(f"alert_at: {self.alert_at!r}; write shares such as (0.5, 0.8, 1.0)")
        if self.stop_at is not None and stop is None:
            problems.append(f'stop_at: {self.stop_at!r} is not a share; write 1.2 or "120%"')
        if stop is not None and self.alert_at is ALERT_AT:
            alerts = tuple(share for share in ALERT_AT if share <= stop)
        problems += [
            f"alert_at: {share:.0%} is never reached, as calls are stopped at {stop:.0%}"
            for share in alerts or ()
            if stop is not None and share > stop
        ]
        for name, value in (("limit", limit), ("alert_at", alerts), ("stop_at", stop)):
            object.__setattr__(self, name, value)
        return problems

    def _scope(self) -> list[str]:
        problems = []
        for name in ("workflow", "model", "agent"):
            names = parse_names(getattr(self, name))
            if names is None:
                problems.append(f"{name}: {getattr(self, name)!r}; write a name, or a list of them")
            object.__setattr__(self, name, names)
        tags = parse_tags(self.tags)
        if tags is None:
            problems.append(f'tags: {self.tags!r}; write them as {{"customer": "acme"}}')
        object.__setattr__(self, "tags", tags)
        return problems


def check_budgets(budgets: object) -> None:
    """Raise a ConfigError that names whatever is no budget, and names that are not unique."""
    if isinstance(budgets, str) or not isinstance(budgets, Sequence):
        raise ConfigError(f"budgets: {budgets!r} is not a list; write [tocsin.Budget(…), …]")
    problems = [
        f"budgets: {budget!r} is not a tocsin.Budget(…)"
        for budget in budgets
        if not isinstance(budget, Budget)
    ]
    names = [budget.name for budget in budgets if isinstance(budget, Budget)]
    problems += [
        f"budgets: there are two named {name!r}"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if problems:
        raise ConfigError("; ".join(problems))


def parse_alerts(value: object) -> tuple[Decimal, ...] | None:
    """Return shares of a limit, ascending, each once; None where one is not a share."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return None
    shares = {parse_percentage(share) for share in value}
    return None if None in shares else tuple(sorted(share for share in shares if share))


def parse_names(value: object) -> tuple[str, ...] | None:
    """Return one name or several as a tuple, which is empty for None; None where it is neither."""
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or (names and not all(is_name(name) for name in names)):
        return None
    return tuple(dict.fromkeys(names)) if names or names == () else None


def parse_tags(value: object) -> dict[str, str] | None:
    """Return tags with their values as text; None where they are not tags."""
    if not isinstance(value, Mapping):
        return None
    tags = {name: clean_tag(found) for name, found in value.items() if is_name(name)}
    if len(tags) < len(value):
        return None
    found = {name: text for name, text in tags.items() if text is not None}
    return found if len(found) == len(tags) else None


def is_name(value: object) -> bool:
    """Whether a value is a name as names of runs, models and agents are kept."""
    return isinstance(value, str) and clean_name(value) == value
