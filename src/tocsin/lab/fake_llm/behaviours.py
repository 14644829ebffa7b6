"""Small behaviours that combine: each takes a request and returns a reply, or wraps one that does.

Chance comes from `Request.rng` alone, so the same seed and calls give the same replies.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from tocsin.lab.fake_llm.script import (
    Behaviour,
    Drop,
    Hang,
    Latency,
    Reply,
    Request,
    Text,
    ToolCalls,
    Usage,
)


def answer(text: str) -> Behaviour:
    """Always answer with this text."""
    return script([Text(text)])


def script(replies: Sequence[Reply], *, restart_on_handoff: bool = False) -> Behaviour:
    """Reply by step: the first before any tool call, the second after one round, …; the last stays.

    restart_on_handoff: count from the last handoff, for an agent that others hand over to.
    """
    if not replies:
        raise ValueError("a script needs at least one reply")

    def reply(request: Request) -> Reply:
        step = request.step_since_handoff if restart_on_handoff else request.step
        return replies[min(step, len(replies) - 1)]

    return reply


def flaky(inner: Behaviour, failure: Reply, probability: float) -> Behaviour:
    """Fail with this probability (0 to 1), each call on its own."""

    def reply(request: Request) -> Reply:
        return failure if request.rng.random() < probability else inner(request)

    return reply


def fail_first(count: int, failure: Reply, inner: Behaviour) -> Behaviour:
    """Fail the first calls with any one content, so that retries of it succeed."""

    def reply(request: Request) -> Reply:
        return failure if request.attempt < count else inner(request)

    return reply


def choose(weighted: Sequence[tuple[float, Behaviour]]) -> Behaviour:
    """Pick one of (weight, behaviour) for each call."""
    weights = [weight for weight, _ in weighted]
    options = [behaviour for _, behaviour in weighted]

    def reply(request: Request) -> Reply:
        chosen: Behaviour = request.rng.choices(options, weights)[0]
        return chosen(request)

    return reply


def latencies(
    inner: Behaviour, *, median_s: float, sigma: float = 0.5, first_token_share: float = 0.3
) -> Behaviour:
    """Take a log-normal time for whatever inner answers.

    sigma: of the logarithm; 0.5 puts the 99th percentile at 3.2 times the median.
    first_token_share: the part of the time (0 to 1) that passes before the first token.
    """

    def reply(request: Request) -> Reply:
        total_s = request.rng.lognormvariate(math.log(median_s), sigma)
        inside = inner(request)
        if isinstance(inside, Hang | Drop):
            return inside
        latency = Latency(first_token_s=total_s * first_token_share, total_s=total_s)
        return replace(inside, latency=latency)

    return reply


def tokens(inner: Behaviour, distribution: Callable[[Random], Usage | None]) -> Behaviour:
    """Report usage drawn from a distribution, for answers; failures report none."""

    def reply(request: Request) -> Reply:
        usage = distribution(request.rng)
        inside = inner(request)
        return replace(inside, usage=usage) if isinstance(inside, Text | ToolCalls) else inside

    return reply
