"""When runs of which workflow begin: a Poisson process, the same for the same seed."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["MIX", "Arrival", "arrivals"]

MIX: Final[Mapping[str, float]] = {"customer-support": 0.55, "research": 0.2, "billing": 0.25}
"""Workflow -> its share of the runs."""

CANCELLED_SHARE: Final = 0.03
CONVERSATIONS: Final = frozenset({"customer-support", "billing"})
"""Workflows whose runs may continue an earlier one."""
CONTINUED_SHARE: Final = 0.5
RECENT: Final = 12
"""Conversations that a next run may continue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One run to come. seed: of all that is random inside it."""

    index: int
    at_s: float
    workflow: str
    seed: str
    conversation: str | None = None
    cancel_after_s: float | None = None
    """When its caller gives up on it."""


def arrivals(
    seed: int, rate: float, *, mix: Mapping[str, float] = MIX, index_from: int = 0
) -> Iterator[Arrival]:
    """Yield runs forever, `rate` a second on average, at seconds from now."""
    rng = Random(f"arrivals {seed}")
    names, weights = list(mix), list(mix.values())
    recent = {name: deque[str](maxlen=RECENT) for name in names}
    at_s, index = 0.0, index_from
    while True:
        at_s += rng.expovariate(rate)
        workflow = rng.choices(names, weights)[0]
        yield Arrival(
            index=index,
            at_s=at_s,
            workflow=workflow,
            seed=f"{seed} {index}",
            conversation=_conversation(rng, workflow, recent[workflow], index),
            cancel_after_s=rng.uniform(0.3, 1.5) if rng.random() < CANCELLED_SHARE else None,
        )
        index += 1


def _conversation(rng: Random, workflow: str, recent: deque[str], index: int) -> str | None:
    if workflow not in CONVERSATIONS:
        return None
    if not recent or rng.random() >= CONTINUED_SHARE:
        recent.append(f"{workflow}-{index}")
        return recent[-1]
    return rng.choice(recent)
