"""Prices for whoever must know the cost of a call before it is made, on any thread."""

import threading
import time
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.model.span import Kind, Span, Usage
from tocsin.pricing.catalogue import PriceBook
from tocsin.pricing.rates import Rates

__all__ = ["Tariff"]

KNOWN_FOR_S: Final = 30.0
"""A few rates depend on the time of day, and prices may be overridden."""
MAX_MODELS: Final = 1_000


class Known(msgspec.Struct, frozen=True):
    """What is known of a model's prices, and until when, on `time.monotonic()`."""

    until_s: float
    rates: Rates | None
    flat: tuple[Decimal, Decimal] | None
    """USD per token of input and output, where nothing else decides: most models, and quick."""


NOTHING: Final = Known(0.0, None, None)


class Tariff:
    """Prices calls at standard service tier, by the name of the model that is asked for.

    It has a price book of its own, because one belongs to one thread, and a lock around it.
    """

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices.twin()
        self._lock = threading.Lock()
        self._known: dict[str | None, Known] = {}

    def reset_after_fork(self) -> None:
        """Make a new lock: the parent's may be held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def cost_usd(self, model: str | None, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Price of a call; None where the model has none."""
        known = self._known.get(model, NOTHING)
        if time.monotonic() >= known.until_s:
            known = self._look_up(model)
        if known.flat is None:
            return _total(known.rates, Usage(input_tokens, output_tokens))
        return input_tokens * known.flat[0] + output_tokens * known.flat[1]

    def price(self, model: str | None, usage: Usage) -> Decimal | None:
        """Price of a call that was made; None where the model has none."""
        cost = self.cost_usd(model, usage.input_tokens, usage.output_tokens)
        if cost is None or not (
            usage.cache_read_tokens or usage.cache_write_tokens or usage.reasoning_tokens
        ):
            return cost
        return _total(self._known.get(model, NOTHING).rates, usage)

    def _look_up(self, model: str | None) -> Known:
        now_ns = time.time_ns()
        span = Span(
            trace_id="",
            span_id="",
            parent_id=None,
            kind=Kind.LLM,
            name="",
            started_ns=now_ns,
            ended_ns=now_ns,
            model=model,
        )
        with self._lock:
            rates = self._prices.rates(span)
            if len(self._known) >= MAX_MODELS:
                self._known.clear()  # model names come from outside
            known = Known(time.monotonic() + KNOWN_FOR_S, rates, rates.flat if rates else None)
            self._known[model] = known
        return known


def _total(rates: Rates | None, usage: Usage) -> Decimal | None:
    cost = None if rates is None else rates.cost(usage)
    return None if cost is None else cost.total
