"""The fake models: how fast, how dear in tokens and how reliable each is."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from tocsin.lab.fake_llm import (
    Behaviour,
    Failure,
    Hang,
    Reply,
    Request,
    Usage,
    choose,
    latencies,
    script,
)
from tocsin.lab.fleet.workflow import Workflow

__all__ = ["PROFILES", "Profile", "fake_models", "spending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """median_s: of one call. failures: share of calls that fail, in one way or another."""

    median_s: float
    failures: float


PROFILES: Final[Mapping[str, Profile]] = {
    "gpt-4.1-nano": Profile(median_s=0.22, failures=0.015),
    "gpt-4.1-mini": Profile(median_s=0.40, failures=0.025),
    "gpt-4.1": Profile(median_s=0.75, failures=0.02),
    "gpt-4o-mini": Profile(median_s=0.45, failures=0.03),
    "gpt-4o": Profile(median_s=0.60, failures=0.025),
    "acme-7b": Profile(median_s=0.50, failures=0.05),
}
"""Model -> profile. acme-7b is in nobody's price list: its cost stays unknown."""

FAULTS: Final = choose(
    [
        (0.5, script([Failure(429, retry_after_s=0.1)])),
        (0.35, script([Failure(500)])),
        (0.15, script([Hang()])),
    ]
)


def fake_models(
    workflows: Iterable[Workflow], profiles: Mapping[str, Profile] = PROFILES
) -> dict[str, Behaviour]:
    """Behaviours of every model, speaking for the workflows' agents."""
    roles = {name: role for flow in workflows for name, role in flow.behaviours.items()}
    return {model: _served(_acting(roles), profile) for model, profile in profiles.items()}


def spending(
    inputs: int, outputs: int, *, cached: float = 0.3, sigma: float = 0.3
) -> Callable[[Random], Usage]:
    """Usage of a call, log-normal around these medians; cached: the share of input from a cache."""

    def draw(rng: Random) -> Usage:
        tokens = round(rng.lognormvariate(math.log(inputs), sigma))
        output = round(rng.lognormvariate(math.log(outputs), sigma))
        return Usage(
            input=tokens, cached=round(tokens * cached), output=output, reasoning=output // 8
        )

    return draw


def _acting(roles: Mapping[str, Behaviour]) -> Behaviour:
    def reply(request: Request) -> Reply:
        role = request.instructions.partition(".")[0].removeprefix("You are ")
        return roles[role](request)

    return reply


def _served(acting: Behaviour, profile: Profile) -> Behaviour:
    def reply(request: Request) -> Reply:
        fails = request.rng.random() < profile.failures
        return FAULTS(request) if fails else acting(request)

    return latencies(reply, median_s=profile.median_s, sigma=0.4)
