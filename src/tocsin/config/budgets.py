"""`budgets:` in the file: what may be spent per hour, day or month."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from tocsin.config.document import Path
from tocsin.config.section import Section, read_by
from tocsin.guard.budgets import Budget, is_name, parse_alerts, parse_names, parse_tags
from tocsin.guard.limits import ANY_WORKFLOW
from tocsin.guard.periods import zone_of
from tocsin.guard.quantities import parse_percentage, parse_usd

__all__ = ["BudgetEntry", "budget_contradictions"]

SHARES: Final = "shares of the limit, such as [50%, 80%, 100%]"
ZONE: Final = (
    "a name such as Europe/Berlin (where the system has no time zones: pip install tzdata)"
)
Names = Annotated[tuple[str, ...], read_by(parse_names, "a name, or a list of them")]


def _name(written: object) -> str | None:
    return str(written) if is_name(written) else None


def _zone(written: object) -> str | None:
    return str(written) if zone_of(written) is not None else None


class BudgetEntry(Section):
    """One budget."""

    name: Annotated[str, read_by(_name, "a name of at most 128 characters on one line")]
    limit: Annotated[Decimal, read_by(parse_usd, "US dollars above 0, such as 50 USD")]
    per: Literal["hour", "day", "month"] = "day"
    timezone: Annotated[str, read_by(_zone, ZONE)] = "UTC"
    workflow: Names = ()
    model: Names = ()
    agent: Names = ()
    tags: Annotated[dict[str, str], read_by(parse_tags, "tags as {customer: acme}")] = Field(
        default_factory=dict
    )
    alert_at: Annotated[tuple[Decimal, ...], read_by(parse_alerts, SHARES)] = ()
    stop_at: Annotated[Decimal, read_by(parse_percentage, "a share, such as 120%")] | None = None
    on_failure: Literal["open", "closed"] = "open"

    @property
    def budget(self) -> Budget:
        """The same, as the rest of the program takes it."""
        return Budget(**{name: getattr(self, name) for name in self.model_fields_set})


def budget_contradictions(content: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Find budgets that are fine alone and impossible with what else is in the file.

    content: the whole file as it was read; what is wrong by itself is passed over here.
    """
    entries = content.get("budgets")
    if not isinstance(entries, list):
        return
    workflows = content.get("workflows")
    known = list(workflows) if isinstance(workflows, dict) else []
    names = Counter[str]()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        for key, message in (*_late_alerts(entry), *_unknown(entry, known)):
            yield ("budgets", index, key), message
        if isinstance(name := entry.get("name"), str):
            names[name] += 1
            if names[name] == 2:
                yield ("budgets", index, "name"), f"{name!r} is taken; write another name"


def _late_alerts(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    stop = parse_percentage(entry.get("stop_at"))
    for share in parse_alerts(entry.get("alert_at")) or ():
        if stop is not None and share > stop:
            yield (
                "alert_at",
                f"{share:.0%} is never reached, as calls are stopped at {stop:.0%};"
                " write less, or a higher stop_at",
            )


def _unknown(entry: Mapping[str, Any], known: Sequence[str]) -> Iterator[tuple[str, str]]:
    if ANY_WORKFLOW in known:
        return
    for name in parse_names(entry.get("workflow")) or ():
        if name not in known:
            some = ", ".join(known) or "none yet"
            yield (
                "workflow",
                f"{name!r} is not under workflows, where there are: {some}; write one of them, or"
                ' add it there, or "*" for all others',
            )
