"""OpenTelemetry's GenAI conventions, every generation of them."""

from tocsin.model.run import Outcome
from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names

__all__ = ["GEN_AI", "GEN_AI_OLDER"]

OPERATIONS = {
    **dict.fromkeys(
        ("chat", "text_completion", "generate_content", "completion", "acompletion"), Kind.LLM
    ),
    **dict.fromkeys(("responses", "messages"), Kind.LLM),
    "embeddings": Kind.EMBEDDING,
    "embedding": Kind.EMBEDDING,
    "retrieval": Kind.RETRIEVAL,
    "search_memory": Kind.RETRIEVAL,
    "execute_tool": Kind.TOOL,
    "invoke_agent": Kind.AGENT,
    "invoke_workflow": Kind.RUN,
    "handle_conversation_turn": Kind.RUN,
    "plan": Kind.STEP,
    "apply_guardrail": Kind.GUARDRAIL,
    "handoff": Kind.HANDOFF,
}
"""create_agent and fetch_response do no work, and are left to be `other`."""

GEN_AI = Dialect(
    content=(
        *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"),
        *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    ),
    kinds=(
        KindRule(rank=2, attribute="gen_ai.operation.name", values=OPERATIONS),
        KindRule(rank=9, attribute="gen_ai.tool.name", values={}, otherwise=lambda _: Kind.TOOL),
    ),
    names=Names(
        workflow=("gen_ai.workflow.name",),
        conversation=("gen_ai.conversation.id",),
        agent=("gen_ai.agent.name",),
        tool=("gen_ai.tool.name",),
        guardrail=("gen_ai.guardrail.name",),
        model=("gen_ai.request.model",),
        response_model=("gen_ai.response.model",),
        provider=("gen_ai.provider.name",),
        address=("server.address",),
        port=("server.port",),
        service_tier=("openai.response.service_tier", "gen_ai.openai.response.service_tier"),
        response_id=("gen_ai.response.id",),
        finish_reason=("gen_ai.response.finish_reasons",),
        input_tokens=("gen_ai.usage.input_tokens",),
        output_tokens=("gen_ai.usage.output_tokens",),
        cache_read=("gen_ai.usage.cache_read.input_tokens",),
        cache_write=(
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
        ),
        reasoning=("gen_ai.usage.reasoning.output_tokens",),
        first_token_s=(
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.client.operation.time_to_first_chunk",
            "gen_ai.server.time_to_first_token",
        ),
        status_code=("http.response.status_code", "http.status_code", "error.code"),
        error_type=("error.type",),
        error_text=("error.message",),
        arguments=("gen_ai.tool.call.arguments",),
        triggered=("gen_ai.guardrail.triggered",),
    ),
    endings={
        Outcome.MAX_TURNS: r"max(?:imum)?[ _]?(?:number of )?"
        r"(?:turns?|steps?|iterations?|llm calls?)\b.{0,40}(?:exceed|reached)"
        r"|(?:exceed|reached|hit).{0,40}\bmax(?:imum)?[ _](?:number of )?"
        r"(?:turns?|steps?|iterations?|llm calls?)|MaxTurns|MaxIterations",
        Outcome.GUARDRAIL: r"tripwire",
        Outcome.CANCELLED: r"\bCancell?ed(?:Error|Exception)?\b|KeyboardInterrupt|GeneratorExit",
    },
    kept=("gen_ai.request.stream", "gen_ai.tool.type", "error.type", "http.response.status_code"),
)

GEN_AI_OLDER = Dialect(
    names=Names(
        conversation=("session.id",),
        provider=("gen_ai.system",),
        finish_reason=("gen_ai.response.finish_reason", "gen_ai.completion.0.finish_reason"),
        input_tokens=("gen_ai.usage.prompt_tokens",),
        output_tokens=("gen_ai.usage.completion_tokens",),
        cache_read=("gen_ai.usage.cache_read_input_tokens",),
        cache_write=(
            "gen_ai.usage.cache_write_input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
        ),
        reasoning=("gen_ai.usage.reasoning_tokens",),
    ),
)
