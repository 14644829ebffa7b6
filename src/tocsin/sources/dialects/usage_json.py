"""The provider's usage object, which some libraries repeat as JSON in one attribute."""

from collections.abc import Mapping

import msgspec

__all__ = ["usage_details"]


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    """OpenAI's, of the Responses API and of chat completions."""

    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


_decoder = msgspec.json.Decoder(_Usage)


def usage_details(text: str) -> Mapping[str, int | None]:
    """Tokens by field name (cache_read, cache_write, reasoning), where the object tells them."""
    try:
        usage = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return {}
    read = usage.input_tokens_details or usage.prompt_tokens_details or _Details()
    written = usage.output_tokens_details or usage.completion_tokens_details or _Details()
    return {
        "cache_read": read.cached_tokens,
        "cache_write": read.cache_write_tokens,
        "reasoning": written.reasoning_tokens,
    }
