"""Pydantic AI, whose instrumentation has versions of its own (1 to 5)."""

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, Names, name_starts

__all__ = ["PYDANTIC_AI", "PYDANTIC_AI_BARE"]

PYDANTIC_AI = Dialect(
    name_rules=(
        name_starts(
            "pydantic-ai",
            {
                "agent run": Kind.AGENT,
                "invoke_agent": Kind.AGENT,
                "chat ": Kind.LLM,
                "running tools": Kind.STEP,
                "running tool": Kind.TOOL,
                "running ": Kind.STEP,
            },
        ),
    ),
    names=Names(
        cost_usd=("operation.cost",),
        input_tokens=("gen_ai.aggregated_usage.input_tokens",),
        output_tokens=("gen_ai.aggregated_usage.output_tokens",),
        cache_read=(
            "gen_ai.usage.details.cache_read_tokens",
            "gen_ai.usage.details.cached_tokens",
            "gen_ai.aggregated_usage.cache_read.input_tokens",
        ),
        cache_write=("gen_ai.usage.details.cache_write_tokens",),
        reasoning=(
            "gen_ai.usage.details.reasoning_tokens",
            "gen_ai.aggregated_usage.details.reasoning_tokens",
        ),
        retry=("pydantic_ai.tool.retry.cause",),
        attempt=("pydantic_ai.model_request.attempt",),
    ),
    endings={
        Outcome.MAX_TURNS: r"exceed(?:ed)? the (?:request|tool_calls)_limit|UsageLimitExceeded$"
    },
)

PYDANTIC_AI_BARE = Dialect(
    content=(
        *("events", "all_messages_events", "final_result", "tool_arguments", "tool_response"),
        "pydantic_ai.all_messages",
    ),
    only_in="pydantic-ai",
    names=Names(agent=("agent_name",), arguments=("tool_arguments",)),
)
