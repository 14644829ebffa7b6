"""The parts of a run that take of its limits: agents, and models and tools in them."""

from typing import Final

from tocsin.model.run import OTHERS

__all__ = ["Taker", "Takers"]

MAX_TAKERS: Final = 200
"""Parts of one run that are told apart; tools and models can be made up."""


class Taker:
    """An agent itself, or a model or tool in an agent, and what it has taken so far."""

    __slots__ = (
        *("agent", "calls", "cost_usd", "inner", "is_nested", "kind", "name", "outer", "own_ns"),
        *("tokens", "turns"),
    )

    def __init__(self, kind: str, name: str, outer: "Taker | None" = None) -> None:
        self.kind = kind
        self.name = name
        self.outer = outer
        self.agent = None if outer is None or kind == "agent" else outer.as_agent
        self.is_nested: bool = outer is not None and (outer.is_nested or outer.kind == "tool")
        """Inside of a tool; its turns are not the run's."""
        self.inner: dict[str, dict[str, Taker]] | None = None
        """What is inside of it, by kind and name."""
        self.own_ns = 0.0
        self.tokens = 0
        self.cost_usd = 0.0
        self.turns = 0
        self.calls = 0

    @property
    def as_agent(self) -> str | None:
        """Agent that it is, or is in."""
        return self.name if self.kind == "agent" else self.agent


class Takers:
    """All of one run's, each once."""

    __slots__ = ("all",)

    def __init__(self) -> None:
        self.all: list[Taker] = [Taker(OTHERS, "others")]

    def inside(self, outer: Taker, kind: str, name: str) -> Taker:
        """Return what is of a kind and name inside of another; the others, if there are many."""
        inner = outer.inner
        if inner is None:
            inner = outer.inner = {}
        of_kind = inner.get(kind)
        if of_kind is None:
            of_kind = inner[kind] = {}
        found = of_kind.get(name)
        return self._add(of_kind, outer, kind, name) if found is None else found

    def _add(self, of_kind: dict[str, Taker], outer: Taker, kind: str, name: str) -> Taker:
        if len(self.all) >= MAX_TAKERS:
            return self.all[0]
        taker = of_kind[name] = Taker(kind, name, outer)
        self.all.append(taker)
        return taker
