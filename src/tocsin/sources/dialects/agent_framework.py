"""Microsoft Agent Framework, and Semantic Kernel and AutoGen before it."""

from tocsin.model.span import Kind
from tocsin.sources.dialects.table import Dialect, KindRule, Names, name_starts

__all__ = ["AGENT_FRAMEWORK"]

AGENT_FRAMEWORK = Dialect(
    kinds=(
        KindRule(
            rank=2,
            attribute="gen_ai.operation.name",
            values={
                "chat.completions": Kind.LLM,
                "chat.streaming_completions": Kind.LLM,
                "text.completions": Kind.LLM,
                "text.streaming_completions": Kind.LLM,
            },
        ),
    ),
    name_rules=(
        name_starts(
            "",
            {
                "workflow.run": Kind.RUN,
                "executor.process": Kind.STEP,
                "edge_group.process": Kind.STEP,
                "message.send": Kind.STEP,
                "AutoFunctionInvocationLoop": Kind.STEP,
            },
        ),
    ),
    names=Names(workflow=("workflow.name",)),
    no_providers=(
        "microsoft.agent_framework",
        "agent_framework",
        "semantic_kernel",
        "autogen",
        "microsoft.semantic_kernel",
    ),
)
