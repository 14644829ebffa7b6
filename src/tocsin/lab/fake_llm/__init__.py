"""A fake LLM server: OpenAI-compatible on the wire, scripted inside.

`FakeLLM` serves `/v1/responses` and `/v1/chat/completions`, streamed and not; what it answers is
a `Behaviour`, any callable from `Request` to `Reply`.
"""

from tocsin.lab.fake_llm.behaviours import (
    answer,
    choose,
    fail_first,
    flaky,
    latencies,
    script,
    tokens,
)
from tocsin.lab.fake_llm.script import (
    Behaviour,
    BreakStream,
    Drop,
    Failure,
    Hang,
    Item,
    Latency,
    Reply,
    Request,
    StreamFailure,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
)
from tocsin.lab.fake_llm.server import FakeLLM

__all__ = [
    "Behaviour",
    "BreakStream",
    "Drop",
    "Failure",
    "FakeLLM",
    "Hang",
    "Item",
    "Latency",
    "Reply",
    "Request",
    "StreamFailure",
    "Text",
    "ToolCall",
    "ToolCalls",
    "Usage",
    "answer",
    "choose",
    "fail_first",
    "flaky",
    "latencies",
    "script",
    "tokens",
]
