"""Rates for thousands of models from genai-prices, resolved once per model and tier."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices

from tocsin.model.span import Cost, Span
from tocsin.pricing.rates import PER_MILLION, Rate, Rates, parse_overrides

__all__ = ["PriceBook"]

K = TypeVar("K")
V = TypeVar("V")

logger = logging.getLogger(__name__)

STANDARD_TIERS = frozenset({"default", "auto", "standard", "on_demand"})
NS_PER_S = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_S
MAX_RESOLVED = 4096
"""Resolved models kept; hostile model names must not grow the process."""


class PriceBook:
    """Prices LLM spans: overrides first, then genai-prices' bundled data.

    Not thread-safe; one worker owns it. Rates that depend on the time of day or on a start
    date are resolved again every minute, all others once.
    """

    def __init__(self, overrides: Mapping[str, Mapping[str, object]] | None = None) -> None:
        self._overrides = parse_overrides(overrides or {})
        self._twins: list[PriceBook] = []
        self._rates: dict[tuple[str | None, ...], tuple[int | None, Rates | None]] = {}
        self._providers: dict[tuple[str | None, str | None], str | None] = {}
        self._warned: set[tuple[str, str]] = set()
        self._forget()

    def override(self, prices: Mapping[str, Mapping[str, object]]) -> None:
        """Add overrides, as in `parse_overrides`, for calls priced from now on."""
        self._overrides = self._overrides | parse_overrides(prices)
        self._rates.clear()
        for twin in self._twins:
            twin.override(prices)

    def twin(self) -> "PriceBook":
        """Make a book with the same overrides, also those to come, for another thread."""
        twin = PriceBook()
        twin._overrides = self._overrides
        self._twins.append(twin)
        return twin

    def cost(self, span: Span) -> Cost | None:
        """Price an LLM span; None when its usage or its model's price is unknown."""
        if span.usage is None:
            return None
        rates = self.rates(span)
        return None if rates is None else rates.cost(span.usage)

    def rates(self, span: Span) -> Rates | None:
        """Rates of an LLM span's model, as it was called; None when they are unknown."""
        key = (span.provider, span.endpoint, span.response_model, span.model, span.service_tier)
        minute = span.started_ns // NS_PER_MINUTE
        resolved = self._rates.get(key)
        if resolved is None or resolved[0] not in (None, minute):
            timeless, rates = self._resolve(span)
            resolved = (None if timeless else minute, rates)
            self._remember(self._rates, key, resolved)
        return resolved[1]

    def provider(self, span: Span) -> str | None:
        """Name who serves the span's model, from its endpoint, else from the model's name."""
        if span.provider is not None:
            return span.provider
        key = (span.endpoint, span.model)
        if key not in self._providers:
            self._remember(self._providers, key, self._find_provider(span.endpoint, span.model))
        return self._providers[key]

    def _find_provider(self, endpoint: str | None, model: str | None) -> str | None:
        # An endpoint nobody knows is a proxy or a test server: the model's name decides then,
        # and first of all what LiteLLM's names have before the slash.
        name = model.lower() if model else None
        prefix = name.partition("/")[0] if name and "/" in name else None
        for ref, provider, url in (
            (None, None, endpoint),
            (None, prefix, None),
            (name, None, None),
        ):
            if ref or provider or url:
                try:
                    return self._data.find_provider(ref, provider, url).id
                except LookupError:
                    continue
        return None

    def _resolve(self, span: Span) -> tuple[bool, Rates | None]:
        """Return whether the answer holds at any time, and the rates."""
        models = [model.lower() for model in (span.response_model, span.model) if model]
        for model in models:
            if model in self._overrides:
                return True, self._overrides[model]
        for model in models:
            found = self._find_model(model, self.provider(span))
            if found is not None:
                return _is_timeless(found[1]), self._rates_of(*found, span)
        return True, None

    def _find_model(self, model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
        try:
            return self._data.find_provider_model(model, None, provider, None)
        except LookupError:
            prefix, _, bare = model.partition("/")
            if (
                bare
                and provider is not None
                and self._find_provider(None, f"{prefix}/") == provider
            ):
                return self._find_model(bare, provider)
            return None

    def _rates_of(self, provider: Provider, info: ModelInfo, span: Span) -> Rates | None:
        at, tier = datetime.fromtimestamp(span.started_ns // NS_PER_S, UTC), span.service_tier
        if tier is None or tier in STANDARD_TIERS:
            return compile_rates(info.get_prices(at))
        context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
        # A model that the provider only resells: its maker's tiers say nothing about it.
        is_own = any(model is info for model in provider.models)
        if is_own and any(_applies(variant, context, at) for variant in info.price_variants or ()):
            return compile_rates(info.get_prices(at, context))
        if (info.id, tier) not in self._warned:
            self._warned.add((info.id, tier))
            logger.warning(
                "No price for %s at service tier %s: using its list price", info.id, tier
            )
        return compile_rates(info.get_prices(at))

    def _remember(self, cache: dict[K, V], key: K, value: V) -> None:
        if len(cache) >= MAX_RESOLVED:
            self._forget()
        cache[key] = value

    def _forget(self) -> None:
        """Begin with empty caches; genai-prices keeps its own, of misses too, on its snapshot."""
        shared = data_snapshot.get_snapshot()
        self._data = data_snapshot.DataSnapshot(shared.providers, shared.from_auto_update)
        self._rates.clear()
        self._providers.clear()
        self._warned.clear()


def _is_timeless(info: ModelInfo) -> bool:
    constraints = [variant.constraint for variant in info.price_variants or ()]
    if not isinstance(info.prices, ModelPrice):
        constraints += [price.constraint for price in info.prices]
    return all(constraint is None for constraint in constraints)


def _applies(variant: PriceVariant, context: dict[str, str], at: datetime) -> bool:
    active = variant.constraint is None or variant.constraint.active(at)
    return active and all(context.get(key) == value for key, value in variant.when.items())


def compile_rates(price: ModelPrice) -> Rates | None:
    """Reduce a genai-prices record to the rates that token usage needs.

    Returns None where text tokens have no price (models billed by the second or the page).
    """
    per_token = {
        key: _rate(value)
        for key, value in vars(price).items()
        if key.endswith("_mtok") and value is not None
    }
    fresh = per_token.get("input_mtok")
    if fresh is None:
        return None
    fee = vars(price).get("requests_kcount")
    if isinstance(fee, TieredPrices):
        fee = fee.base
    return Rates(
        input=fresh,
        output=per_token.get("output_mtok"),
        cache_read=per_token.get("cache_read_mtok", fresh),
        cache_write=per_token.get("cache_write_mtok", fresh),
        reasoning=per_token.get("output_reasoning_mtok"),
        request_usd=Decimal(0) if fee is None else fee / 1000,
    )


def _rate(value: Decimal | TieredPrices) -> Rate:
    if isinstance(value, TieredPrices):
        steps = tuple((tier.start, tier.price / PER_MILLION) for tier in value.tiers)
        return Rate(value.base / PER_MILLION, steps)
    return Rate(value / PER_MILLION)
