"""OpenTelemetry's GenAI conventions, in all the generations that libraries still emit."""

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects.family import Family
from tocsin.sources.otlp_wire import RawSpan

__all__ = ["FAMILY"]

OPERATIONS = {
    "chat": Kind.LLM,
    "text_completion": Kind.LLM,
    "generate_content": Kind.LLM,
    "completion": Kind.LLM,
    "acompletion": Kind.LLM,
    "responses": Kind.LLM,
    "aresponses": Kind.LLM,
    "messages": Kind.LLM,
    "embeddings": Kind.EMBEDDING,
    "embedding": Kind.EMBEDDING,
    "aembedding": Kind.EMBEDDING,
    "retrieval": Kind.RETRIEVAL,
    "search_memory": Kind.RETRIEVAL,
    "execute_tool": Kind.TOOL,
    "invoke_agent": Kind.AGENT,
    "invoke_workflow": Kind.RUN,
    "handle_conversation_turn": Kind.RUN,
    "invoke_swarm": Kind.RUN,
    "invoke_graph": Kind.RUN,
    "execute_task": Kind.STEP,
    "execute_event_loop_cycle": Kind.STEP,
    "agent_step": Kind.STEP,
    "plan": Kind.STEP,
    "apply_guardrail": Kind.GUARDRAIL,
    "handoff": Kind.HANDOFF,
}


def by_operation(span: RawSpan) -> Kind | None:
    """Kind by `gen_ai.operation.name`."""
    operation = span.attributes.get("gen_ai.operation.name")
    return OPERATIONS.get(operation) if isinstance(operation, str) else None


FAMILY = Family(
    kinds={20: by_operation},
    wanted=("gen_ai.operation.name",),
    sources={
        "workflow": ("gen_ai.workflow.name",),
        "conversation": ("gen_ai.conversation.id", "session.id"),
        "response_model": ("gen_ai.response.model",),
        "request_model": ("gen_ai.request.model",),
        "provider": ("gen_ai.provider.name", "gen_ai.system"),
        "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "cache_read": (
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.details.cache_read_tokens",
        ),
        "cache_write": (
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
        ),
        "reasoning": (
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.details.reasoning_tokens",
        ),
        "first_token": (
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.client.operation.time_to_first_chunk",
        ),
        "first_token_ms": ("gen_ai.server.time_to_first_token",),
        "agent": ("gen_ai.agent.name",),
        "tool": ("gen_ai.tool.name",),
        "arguments": ("gen_ai.tool.call.arguments",),
        "from_agent": ("gen_ai.handoff.from_agent",),
        "to_agent": ("gen_ai.handoff.to_agent",),
        "response_id": ("gen_ai.response.id",),
        "finish_reason": ("gen_ai.response.finish_reasons",),
        "service_tier": (
            "openai.response.service_tier",
            "gen_ai.openai.response.service_tier",
            "anthropic.response.service_tier",
        ),
        "endpoint": ("server.address",),
        "status": ("http.response.status_code", "error.code"),
        "error_type": ("error.type",),
        "cost": ("operation.cost", "gen_ai.cost.total_cost"),
    },
    outcomes=(
        (r"max.?turns|turn limit", Outcome.MAX_TURNS),
        (r"guardrail.*trip|tripwire", Outcome.GUARDRAIL),
        (r"cancel", Outcome.CANCELLED),
    ),
)
