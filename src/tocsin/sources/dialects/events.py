"""What a span's events tell: the first token, the exception, judgements of the answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tocsin.model.label import UNKNOWN, clean_name
from tocsin.sources.any_value import Value
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.plan import Readers
from tocsin.sources.otlp_wire import RawEvent, text

__all__ = ["NO_EVENTS", "Seen", "look_at"]

MAX_LOOKED_AT: Final = 32
"""Events at either end of a span that are looked at; a stream may leave one for each chunk."""
MAX_EVALUATIONS: Final = 8
EVALUATION: Final = "gen_ai.evaluation.result"


class Seen(msgspec.Struct, frozen=True):
    """What the events say. Evaluations map an evaluation's name to its score, else its label."""

    first_token_ns: int | None = None
    exception: RawEvent | None = None
    evaluations: Mapping[str, str] = {}


NO_EVENTS: Final = Seen()


def look_at(events: Sequence[Any], readers: Readers) -> Seen:
    """Find the first event of each sort that is of use; bodies of others stay undecoded."""
    if len(events) > 2 * MAX_LOOKED_AT:
        events = [*events[:MAX_LOOKED_AT], *events[-MAX_LOOKED_AT:]]
    first_token_ns: int | None = None
    exception: RawEvent | None = None
    evaluations: dict[str, str] = {}
    for event in filter(None, map(readers.event, events)):
        name = text(event.name)
        if name == "exception":
            exception = exception or event
        elif name == EVALUATION and len(evaluations) < MAX_EVALUATIONS:
            evaluations.update(_evaluation(event, readers))
        elif first_token_ns is None and name.endswith(VOCABULARY.first_token_events):
            first_token_ns = event.time_unix_nano
    return Seen(first_token_ns, exception, evaluations)


def _evaluation(event: RawEvent, readers: Readers) -> dict[str, str]:
    name = clean_name(_value(event, "gen_ai.evaluation.name", readers)) or UNKNOWN
    score = _value(event, "gen_ai.evaluation.score.value", readers)
    if score is None:
        score = clean_name(_value(event, "gen_ai.evaluation.score.label", readers))
    return {} if score is None else {f"evaluation.{name}": str(score)[:128]}


def _value(event: RawEvent, name: str, readers: Readers) -> Value:
    attributes: Mapping[str, Any] = event.attributes
    return readers.read(attributes[name]) if name in attributes else None
