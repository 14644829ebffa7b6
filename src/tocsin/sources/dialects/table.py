"""What a dialect is: where a family of instrumentations writes things down."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Final

from tocsin.model.run import Outcome
from tocsin.model.span import Kind

__all__ = ["Dialect", "KindRule", "Names", "Vocabulary", "merge", "name_starts"]

NameRule = Callable[[str, str], Kind | None]
"""Kind of a span by its scope and its name; None where the rule does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Attributes that hold a field, the preferred one first."""

    workflow: tuple[str, ...] = ()
    own_name: tuple[str, ...] = ()
    """The operation's name, where the span's is a template."""
    conversation: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    guardrail: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    """As requested."""
    response_model: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    port: tuple[str, ...] = ()
    service_tier: tuple[str, ...] = ()
    response_id: tuple[str, ...] = ()
    finish_reason: tuple[str, ...] = ()
    cost_usd: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    output_tokens: tuple[str, ...] = ()
    cache_read: tuple[str, ...] = ()
    cache_write: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    usage_json: tuple[str, ...] = ()
    """A record in JSON with the details of tokens that no attribute has."""
    usage_text: tuple[str, ...] = ()
    """All tokens in one text, as `prompt_tokens=120 completion_tokens=30`."""
    first_token_s: tuple[str, ...] = ()
    first_token_ms: tuple[str, ...] = ()
    status_code: tuple[str, ...] = ()
    """HTTP status of a failed call."""
    error_type: tuple[str, ...] = ()
    error_text: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    """"error" or "failure" where the span's own status may not say so."""
    retry: tuple[str, ...] = ()
    """Present where the operation is to be repeated."""
    attempt: tuple[str, ...] = ()
    """Above zero on a repeated attempt."""
    arguments: tuple[str, ...] = ()
    from_agent: tuple[str, ...] = ()
    to_agent: tuple[str, ...] = ()
    triggered: tuple[str, ...] = ()

    def all(self) -> frozenset[str]:
        """Every attribute of any field."""
        return frozenset(name for key in FIELDS for name in getattr(self, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRule:
    """Kind by an attribute's value. Lower ranks are asked first, across all dialects."""

    rank: int
    attribute: str
    values: Mapping[str, Kind]
    """By lower-case value."""
    otherwise: Callable[[str], Kind | None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One family's table; `sources/dialects/all.py` lists them all."""

    names: Names = Names()
    only_in: str = ""
    """Start of the scopes outside of which the names mean nothing: `name` is anybody's."""
    kinds: tuple[KindRule, ...] = ()
    name_rules: tuple[NameRule, ...] = ()
    """Asked in turn where no attribute tells a span's kind."""
    private_scopes: tuple[str, ...] = ()
    """Starts of scopes whose span names hold users' text, and are not used."""
    millisecond_scopes: tuple[str, ...] = ()
    """Starts of scopes that report in milliseconds what others report in seconds."""
    twice_reasoning_scopes: tuple[str, ...] = ()
    """Scopes that add reasoning to the output of a model behind LiteLLM, which has it already."""
    first_token_events: tuple[str, ...] = ()
    """Ends of the names of events that a first token leaves."""
    no_providers: tuple[str, ...] = ()
    """Frameworks that name themselves as a provider."""
    endings: Mapping[Outcome, str] = field(default_factory=dict)
    """Patterns of errors that say how a run ended, matched without regard to case."""
    kept: tuple[str, ...] = ()
    """Attributes kept as they are: neither content nor personal."""
    content: tuple[str, ...] = ()
    """Attributes with what people and models said, kept only where that is switched on; a name
    that ends in a dot stands for all that begin so."""
    others: tuple[str, ...] = ()
    """Attributes that the dialect's own functions read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Dialects as one table."""

    names: Names
    kinds: tuple[KindRule, ...]
    name_rules: tuple[NameRule, ...]
    private_scopes: tuple[str, ...]
    millisecond_scopes: tuple[str, ...]
    twice_reasoning_scopes: frozenset[str]
    first_token_events: tuple[str, ...]
    no_providers: frozenset[str]
    endings: Mapping[Outcome, re.Pattern[str]]
    kept: tuple[str, ...]
    content: frozenset[str]
    content_starts: tuple[str, ...]
    wanted: frozenset[str]
    """Every attribute that is ever looked at."""
    owners: tuple[tuple[str, frozenset[str]], ...]
    """Names of each dialect, by the start of the scopes in which they mean something."""

    def foreign_to(self, scope: str) -> frozenset[str]:
        """Names that mean nothing in the spans of a scope."""
        known = frozenset[str]().union(*(n for start, n in self.owners if scope.startswith(start)))
        return frozenset[str]().union(*(names for _, names in self.owners)) - known


FIELDS: Final = tuple(known.name for known in fields(Names))


def merge(dialects: tuple[Dialect, ...]) -> Vocabulary:
    """Join dialects; names of earlier ones are preferred."""
    each = partial(_concat, dialects)
    names = Names(
        **{
            key: tuple(dict.fromkeys(name for d in dialects for name in getattr(d.names, key)))
            for key in FIELDS
        }
    )
    rules = _join_rules([rule for d in dialects for rule in d.kinds])
    content = each("content")
    patterns: dict[Outcome, list[str]] = {}
    for dialect in dialects:
        for outcome, pattern in dialect.endings.items():
            patterns.setdefault(outcome, []).append(pattern)
    wanted = names.all()
    return Vocabulary(
        names=names,
        kinds=tuple(rules),
        name_rules=tuple(rule for d in dialects for rule in d.name_rules),
        private_scopes=each("private_scopes"),
        millisecond_scopes=each("millisecond_scopes"),
        twice_reasoning_scopes=frozenset(each("twice_reasoning_scopes")),
        first_token_events=each("first_token_events"),
        no_providers=frozenset(each("no_providers")),
        endings={outcome: re.compile("|".join(parts), re.I) for outcome, parts in patterns.items()},
        kept=each("kept"),
        wanted=wanted
        | {rule.attribute for rule in rules}
        | set(each("kept"))
        | set(each("others")),
        content=frozenset(content),
        content_starts=tuple(name for name in content if name.endswith(".")),
        owners=tuple((d.only_in, d.names.all().union(d.content)) for d in dialects),
    )


def name_starts(scope_start: str, kinds: Mapping[str, Kind]) -> NameRule:
    """Make a rule: within scopes of this start, the start of a span's name tells its kind."""
    starts = tuple((start.lower(), kind) for start, kind in kinds.items())

    def rule(scope: str, name: str) -> Kind | None:
        if not scope.startswith(scope_start):
            return None
        lowered = name.lower()
        return next((kind for start, kind in starts if lowered.startswith(start)), None)

    return rule


def _join_rules(rules: list[KindRule]) -> list[KindRule]:
    """Sort by rank, and make one rule of those that ask the same attribute at the same rank."""
    joined: dict[tuple[int, str], KindRule] = {}
    for rule in sorted(rules, key=lambda rule: rule.rank):
        key = rule.rank, rule.attribute
        known = joined.get(key)
        values = {**known.values, **rule.values} if known else rule.values
        joined[key] = replace(rule, values=values)
    return list(joined.values())


def _concat(dialects: tuple[Dialect, ...], key: str) -> tuple[str, ...]:
    return tuple(name for dialect in dialects for name in getattr(dialect, key))
