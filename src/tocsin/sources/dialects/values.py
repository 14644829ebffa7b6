"""Attribute values in the forms that fields have; None where a value does not fit."""

import math
from typing import Final

from tocsin.model.label import clean_name
from tocsin.sources.any_value import Value
from tocsin.sources.dialects.all import VOCABULARY

__all__ = ["MAX_ID", "amount", "count", "first_item", "plain_model", "provider"]

MAX_ID: Final = 256
MAX_TOKENS: Final = 1 << 40
"""A count above this is a broken attribute, not a call."""
API_SUFFIXES: Final = (
    *(".chat", ".responses", ".completion", ".completions", ".embedding", ".embeddings"),
    *(".messages", ".image", ".speech", ".transcription"),
)
"""`openai.chat` is OpenAI; `azure.ai.openai` is not cut."""
ROUTES: Final = frozenset(
    {
        *("anthropic", "azure", "azure_ai", "bedrock", "cohere", "deepseek", "fireworks_ai"),
        *("gemini", "groq", "huggingface", "mistral", "ollama", "openai", "openrouter"),
        *("together_ai", "vertex_ai", "xai"),
    }
)
"""Prefixes by which LiteLLM and its users say who serves a model."""


def count(value: Value) -> int | None:
    """A number of tokens."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < MAX_TOKENS else None


def amount(value: Value, limit: float) -> float | None:
    """A finite number from 0 to the limit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= limit else None


def first_item(value: Value) -> str | None:
    """First element of an array, which may also be written as JSON or as a comma's list."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    if not isinstance(value, str):
        return None
    item = value[:MAX_ID].strip('[]" ').partition(",")[0].strip('" ')
    return clean_name(item.removeprefix("FinishReason.").lower())


def provider(value: Value) -> str | None:
    """Who serves a model, without an API's suffix; None for a framework that names itself."""
    name = clean_name(value)
    if name is None or (name := name.lower()) in VOCABULARY.no_providers:
        return None
    return (name.rpartition(".")[0] or None) if name.endswith(API_SUFFIXES) else name


def plain_model(model: str, known: str | None) -> tuple[str, str | None]:
    """Model without the route to it, and its provider: the route's, where none is known."""
    route, slash, rest = model.partition("/")
    if not slash or not rest or route not in ROUTES or known not in (None, route):
        return model, known
    return rest, route
