"""What the parts of a run have taken of its limits: kept cheaply, read when a limit is broken."""

from collections.abc import Iterable
from typing import Final

from tocsin.model.label import UNKNOWN
from tocsin.model.run import OTHERS, UNREPORTED, Contributor
from tocsin.model.span import Kind, Usage
from tocsin.runs.own_time import OwnTime
from tocsin.runs.takers import Taker, Takers

__all__ = ["Tally", "rank"]

MAX_NAMED: Final = 20
"""Contributors of a breach; those after them are one."""
NAMED: Final = {
    "run": "run",
    "agent": "agent",
    "llm": "model",
    "embedding": "model",
    "tool": "tool",
    "retrieval": "tool",
    "handoff": "handoff",
    "guardrail": "guardrail",
}
"""Kind -> what it is called; the others are structure, and part of what is around them.

By plain strings: an enum's own hash, taken for every span, is slow.
"""

LLM: Final = Kind.LLM  # looking up an enum's member takes as long as the rest of a comparison
EMBEDDING: Final = Kind.EMBEDDING
STEP: Final = Kind.STEP

Share = tuple[str, str, str | None, float]
"""Kind, name, agent, and what it has taken."""


class Tally:
    """Adds up one run, span by span. Not thread-safe.

    Tokens and dollars by model and agent, turns by agent, time by what has spent it.
    """

    __slots__ = ("_root", "_takers", "_time")

    def __init__(self, started_ns: int) -> None:
        self._time = OwnTime(started_ns)
        self._takers = Takers()
        self._root = Taker("run", UNKNOWN)

    def begin(
        self,
        span_id: str,
        parent_id: str | None,
        kind: Kind,
        name: str,
        at_ns: int,
        agent: str | None = None,
    ) -> None:
        """Note that a span begins. agent: in which it is, where its parent does not tell."""
        parent = None if parent_id is None else self._time.open.get(parent_id)
        taker = self._root if parent is None else parent.taker
        if agent is not None and taker.as_agent != agent:
            taker = self._takers.inside(taker, "agent", agent)
        what = NAMED.get(kind._value_)
        if what is not None:
            # A model's name is known only once it has answered.
            taker = self._takers.inside(taker, what, UNKNOWN if what == "model" else name)
        self._time.begin(span_id, taker, parent, at_ns)

    def end(self, span_id: str, kind: Kind, model: str | None, at_ns: int) -> Taker:
        """Note that a span has ended; return what it is part of, for `add`."""
        part = self._time.open.pop(span_id, None)
        taker = self._root if part is None else part.taker
        if kind is LLM or kind is EMBEDDING:
            taker = self._takers.inside(taker.outer or self._root, "model", model or UNKNOWN)
        elif kind is STEP and not taker.is_nested:
            taker.turns += 1
        if part is not None:
            self._time.end(part, taker, at_ns)
        return taker

    def model_in(self, taker: Taker, model: str | None) -> Taker:
        """Return a model's part in what is around it."""
        return self._takers.inside(taker, "model", model or UNKNOWN)

    def add(self, taker: Taker, usage: Usage | None, cost_usd: float | None) -> None:
        """Add an LLM call."""
        taker.calls += 1
        if usage is not None:
            taker.tokens += usage.input_tokens + usage.output_tokens
        if cost_usd is not None:
            taker.cost_usd += cost_usd

    def contributors(self, limit: str, value: float, now_ns: int) -> tuple[Contributor, ...]:
        """Rank what has taken a limit's value so far, up to a wall-clock time.

        Time that nothing accounts for, as in a server that hears of a span only at its end, is
        ranked as such.
        """
        takers = self._takers.all
        match limit:
            case "latency":
                return self._times(value, now_ns)
            case "tokens":
                return rank((t.kind, t.name, t.agent, t.tokens) for t in takers)
            case "cost":
                return rank((t.kind, t.name, t.agent, t.cost_usd) for t in takers)
            case "turns":
                return rank(self._turns())
            case _:
                return ()

    def _times(self, value_s: float, now_ns: int) -> tuple[Contributor, ...]:
        self._time.bring_up(now_ns)
        taken: list[Share] = [
            (t.kind, t.name, t.agent, t.own_ns / 1e9) for t in (self._root, *self._takers.all)
        ]
        missing_s = value_s - sum(seconds for *_, seconds in taken)
        if missing_s > value_s / 100:
            taken.append((UNREPORTED, "what is not reported yet", None, missing_s))
        return rank(taken)

    def _turns(self) -> list[Share]:
        """Count turns by agent; LLM calls, where the source reports no turns."""
        own = [taker for taker in (self._root, *self._takers.all) if not taker.is_nested]
        reported = any(taker.turns for taker in own)
        turns = ((t, t.turns if reported else t.calls) for t in own)
        return [("agent", t.as_agent or UNKNOWN, None, count) for t, count in turns]


def rank(taken: Iterable[Share]) -> tuple[Contributor, ...]:
    """Order by what was taken, the largest first; fold all beyond MAX_NAMED into one."""
    merged: dict[tuple[str, str, str | None], float] = {}
    for kind, name, agent, value in taken:
        if value > 0:
            key = (kind, name, agent)
            merged[key] = merged.get(key, 0) + value
    total = sum(merged.values())
    others = (OTHERS, "others", None)
    rest = merged.pop(others, 0)
    ordered = sorted(merged.items(), key=lambda item: (-item[1], item[0][:2]))
    rest += sum(value for _, value in ordered[MAX_NAMED:])
    ordered = ordered[:MAX_NAMED] + ([(others, rest)] if rest else [])
    return tuple(Contributor(*key, value, value / total) for key, value in ordered)
