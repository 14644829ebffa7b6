"""Rates of one model, and what a call's usage costs by them."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from tocsin.errors import ConfigError
from tocsin.model.span import Cost, Usage

__all__ = ["PER_MILLION", "Rate", "Rates", "parse_overrides"]

PER_MILLION: Final = Decimal(1_000_000)
ZERO: Final = Decimal(0)
OVERRIDE_KEYS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")


class Rate(msgspec.Struct, frozen=True):
    """USD per token, with dearer (or cheaper) rates for long inputs.

    steps: (input tokens, rate) ascending; the last step whose start is below the call's input
    applies to *all* its tokens, which is how every provider with long-context prices bills.
    """

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """USD per token for a call with that many input tokens."""
        rate = self.base
        for start, step in self.steps:
            if input_tokens <= start:
                break
            rate = step
        return rate


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to price a call of one model at one service tier."""

    input: Rate
    output: Rate | None = None
    """None for models that return no tokens, such as embeddings."""
    cache_read: Rate
    cache_write: Rate
    reasoning: Rate | None = None
    """None where reasoning is billed as output."""
    request_usd: Decimal = ZERO
    """Flat fee per call."""

    @property
    def flat(self) -> tuple[Decimal, Decimal] | None:
        """USD per token of input and output, where calls without a cache cost nothing else."""
        if self.output is None or self.input.steps or self.output.steps or self.request_usd:
            return None
        return self.input.base, self.output.base

    def cost(self, usage: Usage) -> Cost | None:
        """Price one call, or None when it has output tokens that no rate covers."""
        if usage.output_tokens and self.output is None:
            return None
        size = usage.input_tokens
        cached, stored = usage.cache_read_tokens, usage.cache_write_tokens  # most calls: none
        return Cost(
            input=max(0, size - cached - stored) * self.input.at(size) + self.request_usd,
            output=self._output(usage),
            cache_read=cached * self.cache_read.at(size) if cached else ZERO,
            cache_write=stored * self.cache_write.at(size) if stored else ZERO,
        )

    def _output(self, usage: Usage) -> Decimal:
        if self.output is None:
            return ZERO
        rate = self.output.at(usage.input_tokens)
        if self.reasoning is None:
            return usage.output_tokens * rate
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        special = self.reasoning.at(usage.input_tokens)
        return (usage.output_tokens - reasoning) * rate + reasoning * special


def parse_overrides(prices: Mapping[str, Mapping[str, object]]) -> dict[str, Rates]:
    """Turn `{model: {input: 3.00, output: 12.00}}`, USD per million tokens, into rates.

    Optional keys: cache_read and cache_write (default: the input price) and reasoning
    (default: the output price). Keys of the result are lower-case model names.
    Raises ConfigError naming every problem at once.
    """
    problems: list[str] = []
    rates: dict[str, Rates] = {}
    for model, price in prices.items():
        found = _parse_price(model, price, problems)
        if found is not None:
            rates[str(model).lower()] = found
    if problems:
        raise ConfigError("; ".join(problems))
    return rates


def _parse_price(model: str, price: object, problems: list[str]) -> Rates | None:
    where = f"prices[{model!r}]"
    if not isinstance(price, Mapping):
        problems.append(f"{where}: write {{'input': USD per million tokens, 'output': …}}")
        return None
    before = len(problems)
    problems += [
        f"{where}: unknown key {key!r}; known: {', '.join(OVERRIDE_KEYS)}"
        for key in sorted(price.keys() - set(OVERRIDE_KEYS), key=str)
    ]
    problems += [
        f"{where}: {key!r} is missing; write USD per million tokens"
        for key in ("input", "output")
        if key not in price
    ]
    values = {
        key: _parse_rate(f"{where}[{key!r}]", value, problems) for key, value in price.items()
    }
    if len(problems) > before:
        return None
    return Rates(
        input=values["input"],
        output=values["output"],
        cache_read=values.get("cache_read", values["input"]),
        cache_write=values.get("cache_write", values["input"]),
        reasoning=values.get("reasoning"),
    )


def _parse_rate(where: str, value: object, problems: list[str]) -> Rate:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise InvalidOperation
        usd = Decimal(str(value))
        if not usd.is_finite() or usd < 0:
            raise InvalidOperation
    except InvalidOperation:
        problems.append(
            f"{where}: {value!r} is not a price; write USD per million tokens, e.g. 2.5"
        )
        return Rate(ZERO)
    return Rate(usd / PER_MILLION)
