"""What is read of a model call: tokens, cost, how soon, where."""

import re
from decimal import Decimal
from typing import Final

import msgspec

from tocsin.model.span import NS_PER_S, Usage
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.reading import Reading
from tocsin.sources.dialects.values import amount, count

__all__ = ["endpoint", "first_token_s", "is_retry", "reasoning_once", "reported_cost", "usage"]

MAX_WAIT_MS: Final = 86_400_000.0
MAX_COST_USD: Final = 1e9
MAX_JSON: Final = 8_192
"""Characters of a usage record in JSON."""


COUNTS: Final = (
    *("prompt_tokens", "completion_tokens"),
    *("cached_prompt_tokens", "cache_creation_tokens", "reasoning_tokens"),
)
"""Names of input, output, and what of them is cached or reasoning, in a text."""
COUNTED: Final = re.compile(r"\b([a-z_]+_tokens)=(\d{1,15})\b")


class InputDetails(msgspec.Struct):
    """Of input tokens, in the OpenAI Agents SDK's JSON."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    """Of output tokens."""

    reasoning_tokens: int | None = None


class UsageJson(msgspec.Struct):
    """Usage in JSON, as far as it says what attributes do not."""

    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


USAGE_JSON: Final = msgspec.json.Decoder(UsageJson)


def usage(reading: Reading) -> Usage | None:
    """Tokens of a call, None where none were reported.

    Sources write zeros for "not reported", and no call reads and writes nothing, so zeros are
    unknown. Input includes what was read from or written to a cache: where those two are more
    than the input, the source has left them out of it.
    """
    counts = [0, 0, 0, 0, 0]
    memo, attributes = reading.readers.count, reading.attributes
    for index, names in enumerate(reading.plan.counts):
        for name in names:
            value = memo[attributes[name]]
            if value is not None:
                counts[index] = value
                break
    if reading.names.usage_text and not any(counts):
        counts = _named_counts(reading)
    read, written, cache_read, cache_write, reasoning = counts
    if not read and not written:
        return None
    if reading.names.usage_json and not cache_read and not reasoning:
        cache_read, cache_write, reasoning = _details(reading)
    if cache_read + cache_write > read:
        read += cache_read + cache_write
    return Usage(read, written, cache_read, cache_write, reasoning)


def reasoning_once(known: Usage | None) -> Usage | None:
    """Usage without the reasoning that was added to an output which had it already."""
    if known is None or known.reasoning_tokens > known.output_tokens:
        return known
    output_tokens = known.output_tokens - known.reasoning_tokens
    return msgspec.structs.replace(known, output_tokens=output_tokens)


def _named_counts(reading: Reading) -> list[int]:
    found = dict(COUNTED.findall((reading.text(reading.names.usage_text) or "")[:MAX_JSON]))
    return [count(int(found.get(name, 0))) or 0 for name in COUNTS]


def _details(reading: Reading) -> tuple[int, int, int]:
    record = reading.text(reading.names.usage_json)
    if record is None or len(record) > MAX_JSON:
        return 0, 0, 0
    try:
        found = USAGE_JSON.decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0, 0, 0
    inputs = found.input_tokens_details or InputDetails()
    outputs = found.output_tokens_details or OutputDetails()
    details = (inputs.cached_tokens, inputs.cache_write_tokens, outputs.reasoning_tokens)
    cache_read, cache_write, reasoning = (count(detail) or 0 for detail in details)
    return cache_read, cache_write, reasoning


def endpoint(reading: Reading) -> str | None:
    """Base URL of the call, as far as address and port tell it."""
    address = reading.label(reading.names.address)
    if address is None or "://" in address:
        return address
    port: int | None = None
    for name in reading.names.port:
        port = reading.readers.count[reading.attributes[name]]
    return f"https://{address}" if port in (None, 443) else f"https://{address}:{port}"


def first_token_s(reading: Reading, started_ns: int) -> float | None:
    """Seconds to the first token, by an attribute or else by an event."""
    names, read, attributes = reading.names, reading.readers.read, reading.attributes
    for name in names.first_token_s:
        is_ms = reading.origin.scope.startswith(VOCABULARY.millisecond_scopes)
        if (value := amount(read(attributes[name]), MAX_WAIT_MS)) is not None:
            return value / 1000 if is_ms else value
    for name in names.first_token_ms:
        if (value := amount(read(attributes[name]), MAX_WAIT_MS)) is not None:
            return value / 1000
    first_token_ns = reading.seen.first_token_ns
    return None if first_token_ns is None else max(0, first_token_ns - started_ns) / NS_PER_S


def reported_cost(reading: Reading) -> Decimal | None:
    """Cost in USD that the source itself worked out."""
    for name in reading.names.cost_usd:
        value = amount(reading.readers.read(reading.attributes[name]), MAX_COST_USD)
        if value is not None:
            return Decimal(str(value))
    return None


def is_retry(reading: Reading) -> bool:
    """Whether the source itself calls this a repeated attempt."""
    numbers = (reading.readers.count[reading.attributes[name]] for name in reading.names.attempt)
    return any(numbers)
