"""Every dialect of agent telemetry that is understood; a new one is a file and a line here.

The order is the order in which the dialects' names for a field are preferred.
"""

from typing import Final

from tocsin.sources.dialects.agent_framework import AGENT_FRAMEWORK
from tocsin.sources.dialects.frameworks import (
    ANTHROPIC,
    CREWAI,
    GOOGLE_ADK,
    HAYSTACK,
    LLAMA_INDEX,
    SMOLAGENTS,
)
from tocsin.sources.dialects.gen_ai import GEN_AI, GEN_AI_OLDER
from tocsin.sources.dialects.langchain import LANGCHAIN
from tocsin.sources.dialects.litellm import LITELLM
from tocsin.sources.dialects.logfire import LOGFIRE
from tocsin.sources.dialects.openinference import OPENINFERENCE
from tocsin.sources.dialects.pydantic_ai import PYDANTIC_AI, PYDANTIC_AI_BARE
from tocsin.sources.dialects.strands import STRANDS
from tocsin.sources.dialects.table import Vocabulary, merge
from tocsin.sources.dialects.tocsin_sdk import TOCSIN_SDK
from tocsin.sources.dialects.traceloop import TRACELOOP
from tocsin.sources.dialects.vercel import VERCEL

__all__ = ["VOCABULARY"]

VOCABULARY: Final[Vocabulary] = merge(
    (
        TOCSIN_SDK,
        GEN_AI,
        GEN_AI_OLDER,
        OPENINFERENCE,
        TRACELOOP,
        VERCEL,
        PYDANTIC_AI,
        PYDANTIC_AI_BARE,
        AGENT_FRAMEWORK,
        STRANDS,
        LITELLM,
        GOOGLE_ADK,
        CREWAI,
        LLAMA_INDEX,
        SMOLAGENTS,
        HAYSTACK,
        ANTHROPIC,
        LANGCHAIN,
        LOGFIRE,
    )
)
