"""What to look up in a span, worked out once for each set of attribute names."""

from collections.abc import Callable, Mapping, Sized
from typing import Any, Final, Generic, TypeVar

from tocsin.model.label import clean_name
from tocsin.model.span import Kind
from tocsin.sources.any_value import Value
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.table import FIELDS, KindRule, Names
from tocsin.sources.dialects.values import MAX_ID, count, first_item, provider
from tocsin.sources.otlp_wire import Wire

__all__ = ["Memo", "Plan", "Readers", "Step", "kind_by_name"]

T = TypeVar("T")
K = TypeVar("K", bound=Sized)

MAX_MEMO: Final = 8_192
MAX_MEMO_KEY: Final = 96
"""Bytes of an undecoded value that is remembered; a name's length is cut below that anyway."""
MAX_PLANS: Final = 4_096
MAX_PLANNED: Final = 48
"""Attributes of a span above which only the wanted ones make its set: prompts have numbers."""

MAX_PLANNED_TEXT: Final = 4_096
"""Likewise, characters of all attribute names of a span."""


class Memo(dict[K, T], Generic[K, T]):
    """A function's answers for short keys, forgotten all at once when there are too many."""

    def __init__(self, compute: Callable[[K], T], *, limit: int = MAX_MEMO) -> None:
        super().__init__()
        self._compute = compute
        self._limit = limit

    def __missing__(self, key: K) -> T:
        value = self._compute(key)
        if len(self) >= self._limit:
            self.clear()
        if len(key) <= MAX_MEMO_KEY:
            self[key] = value
        return value


Step = tuple[str, Memo[bytes, Any], tuple[str, ...]]
"""A field of a span, how to read it, and the attributes that hold it, the preferred one first."""


class Plan:
    """Which of a span's attributes hold which field, for one set of attributes."""

    __slots__ = ("call_steps", "counts", "is_simple", "kept", "kinds", "names", "steps")

    def __init__(self, present: frozenset[str], readers: "Readers") -> None:
        names = Names(
            **{
                field: tuple(name for name in getattr(VOCABULARY.names, field) if name in present)
                for field in FIELDS
            }
        )
        self.names = names
        self.kinds = tuple(
            (readers.kinds[index], rule.attribute)
            for index, rule in enumerate(VOCABULARY.kinds)
            if rule.attribute in present
        )
        self.kept = tuple(name for name in VOCABULARY.kept if name in present)
        self.steps = _used(
            ("workflow", readers.name, names.workflow),
            ("conversation_id", readers.identifier, names.conversation),
            ("agent", readers.name, names.agent),
        )
        self.call_steps = self.steps + _used(
            ("model", readers.name, names.model),
            ("response_model", readers.name, names.response_model),
            ("provider", readers.provider, names.provider),
            ("service_tier", readers.name, names.service_tier),
            ("finish_reason", readers.first, names.finish_reason),
        )
        counts = (names.input_tokens, names.output_tokens)
        details = (names.cache_read, names.cache_write, names.reasoning)
        self.counts = (*counts, *details) if any(counts) or names.usage_text else ()
        self.is_simple = not (names.error_type or names.status or names.retry)
        """Whether it failed is told by the span's status alone."""


def _used(*steps: Step) -> tuple[Step, ...]:
    return tuple(step for step in steps if step[2])


class Readers:
    """Ways to read an undecoded value of one wire format; what repeats is decoded once.

    foreign: attributes that are not what their names say, in the scopes that are read here.
    """

    def __init__(self, wire: Wire, foreign: frozenset[str] = frozenset()) -> None:
        self.read = read = wire.value
        self.event = wire.event
        self._wanted = VOCABULARY.wanted - foreign
        self.content = VOCABULARY.content - foreign
        self.name: Memo[bytes, str | None] = Memo(lambda raw: clean_name(read(raw)))
        self.identifier: Memo[bytes, str | None] = Memo(self.read_identifier)
        self.number: Memo[bytes, Value] = Memo(read)
        self.count: Memo[bytes, int | None] = Memo(lambda raw: count(read(raw)))
        self.first: Memo[bytes, str | None] = Memo(lambda raw: first_item(read(raw)))
        self.provider: Memo[bytes, str | None] = Memo(lambda raw: provider(read(raw)))
        self.kinds = tuple(self._kind_memo(rule) for rule in VOCABULARY.kinds)
        self._plans: dict[tuple[str, ...], Plan] = {}

    def find_plan(self, attributes: Mapping[str, Any]) -> Plan:
        """The plan for a span with these attributes; however many there are, few are read."""
        keys = tuple(attributes)
        plan = self._plans.get(keys) if len(keys) <= MAX_PLANNED else None
        return plan or self._make_plan(keys)

    def _make_plan(self, keys: tuple[str, ...]) -> Plan:
        if len(keys) > MAX_PLANNED or sum(map(len, keys)) > MAX_PLANNED_TEXT:
            keys = tuple(filter(self._wanted.__contains__, keys))
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[keys] = Plan(self._wanted.intersection(keys), self)
        return plan

    def read_identifier(self, raw: Any) -> str | None:
        """An id of bounded length; some sources write JSON's null where they have none."""
        value = self.read(raw)
        if isinstance(value, str) and 0 < len(value) <= MAX_ID and value != "null":
            return value
        return None

    def _kind_memo(self, rule: KindRule) -> Memo[bytes, Kind | None]:
        def kind(raw: bytes) -> Kind | None:
            value = self.read(raw)
            if not isinstance(value, str):
                return None
            lowered = value.lower()
            return rule.values.get(lowered) or rule.otherwise(lowered)

        return Memo(kind)


def _kind_by_name(key: tuple[str, str]) -> Kind:
    found = (rule(*key) for rule in VOCABULARY.name_rules)
    return next((kind for kind in found if kind is not None), Kind.OTHER)


kind_by_name: Final[Memo[tuple[str, str], Kind]] = Memo(_kind_by_name)
"""Kind by (scope, span name), for spans without an attribute that says it."""
