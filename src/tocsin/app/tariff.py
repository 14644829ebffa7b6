"""Prices for whoever must know the cost of a call before it is made, on any thread."""

import threading
import time
from decimal import Decimal
from typing import Final

from tocsin.model.span import Kind, Span, Usage
from tocsin.pricing.catalogue import PriceBook
from tocsin.pricing.rates import Rates

__all__ = ["Tariff"]

KNOWN_FOR_S: Final = 30.0
"""A few rates depend on the time of day, and prices may be overridden."""
MAX_MODELS: Final = 1_000


class Tariff:
    """Prices calls at standard service tier, by the name of the model that is asked for.

    It has a price book of its own, because one belongs to one thread, and a lock around it.
    """

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices.twin()
        self._lock = threading.Lock()
        self._rates: dict[str | None, tuple[float, Rates | None]] = {}

    def reset_after_fork(self) -> None:
        """Make a new lock: the parent's may be held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def cost_usd(self, model: str | None, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Price of a call; None where the model has none."""
        return self.price(model, Usage(input_tokens, output_tokens))

    def price(self, model: str | None, usage: Usage) -> Decimal | None:
        """Price of a call that was made; None where the model has none."""
        until_s, rates = self._rates.get(model, (0.0, None))
        if time.monotonic() >= until_s:
            rates = self._look_up(model)
        cost = None if rates is None else rates.cost(usage)
        return None if cost is None else cost.total

    def _look_up(self, model: str | None) -> Rates | None:
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
            if len(self._rates) >= MAX_MODELS:
                self._rates.clear()  # model names come from outside
            self._rates[model] = time.monotonic() + KNOWN_FOR_S, rates
        return rates
