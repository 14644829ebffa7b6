"""LiteLLM's OpenTelemetry callback."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, Names, name_starts

__all__ = ["LITELLM"]

LITELLM = Dialect(
    name_rules=(name_starts("", {"litellm_request": Kind.LLM}),),
    names=Names(cost_usd=("gen_ai.cost.total_cost",)),
    no_providers=("litellm",),
)
"""`raw_gen_ai_request`, inside of litellm_request, is left to be `other`."""
