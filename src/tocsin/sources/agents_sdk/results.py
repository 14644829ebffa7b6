"""What tools and models returned -> the little that is kept of it: hashes, times, kinds of end."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from tocsin.model.span import Result, Usage
from tocsin.sources.agents_sdk.fields import error_text, field, text

__all__ = ["DataTimes", "finish_reason", "is_empty", "tool_result"]

DataTimes: TypeAlias = Mapping[str, Callable[[str], int | None]]
"""Tool -> what reads the time of its data from its output, in ns since the epoch."""

HASHED_AT_ENDS: Final = 32_768
"""Characters at each end of a long text that tell it from others, beside its length."""
MAX_ENTRIES: Final = 10_000
"""Entries of an object from which on it is not looked at: writing it down would take too long."""
REASONS: Final = (
    (re.compile(r"reason='(?:max_output_tokens|length)'"), "length"),
    (re.compile(r"reason='content_filter'|by the provider's content filter"), "content_filter"),
)
"""How the SDK's errors and refusals tell why an answer ended."""


def tool_result(data: Any, times: DataTimes) -> Result | None:
    """Fingerprint a function span's arguments and output; None where no output was recorded.

    Hashes are Python's own: keyed anew in every process, so they lead back to nothing.
    """
    output = _written(data.output)
    if output is None:
        return None
    read_time = times.get(data.name)
    arguments = text(data.input)
    return Result(
        output=_hash(output),
        size=len(output),
        arguments=None if arguments is None else _hash(arguments),
        data_ns=None if read_time is None else read_time(output),
    )


def _written(output: object) -> str | None:
    """A tool's output as text; an MCP tool's is inside of a content item."""
    if isinstance(output, dict) and output.get("type") == "text":
        output = output.get("text")
    if output is None or isinstance(output, str):
        return output
    if isinstance(output, dict | list | tuple) and len(output) > MAX_ENTRIES:
        return None
    try:
        return msgspec.json.encode(output, enc_hook=_dump).decode()
    except Exception:  # noqa: BLE001 - a tool may return anything, and change it meanwhile
        return None


def _dump(value: Any) -> object:
    dump = getattr(value, "model_dump", None)
    return str(value) if dump is None else dump(mode="json")


def _hash(content: str) -> int:
    if len(content) <= 2 * HASHED_AT_ENDS:
        return hash(content)
    return hash((len(content), content[:HASHED_AT_ENDS], content[-HASHED_AT_ENDS:]))


def finish_reason(data: Any, error: object, usage: Usage | None) -> str | None:
    """Why an answer ended: "length", "content_filter", or None where nothing says so.

    Chat spans do not carry it; there an answer that used all tokens it was allowed was cut off.
    """
    said = error_text(error) if error is not None else _refusal(data)
    for pattern, reason in REASONS:
        if said and pattern.search(said):
            return reason
    allowed = field(getattr(data, "model_config", None), "max_tokens")
    if usage is not None and isinstance(allowed, int) and usage.output_tokens >= allowed > 0:
        return "length"
    return None


def is_empty(data: Any) -> bool:
    """Whether an answer was recorded that holds neither text, nor a refusal, nor a call."""
    output = _items(data)
    return output is not None and not any(_says(item) for item in output)


def _items(data: Any) -> list[Any] | None:
    """The answer's items: of a response, or of the message or response that a chat span keeps."""
    output = field(getattr(data, "response", None), "output")
    if output is None:
        output = getattr(data, "output", None)
        if isinstance(output, list) and len(output) == 1:
            inside = field(output[0], "output")
            output = inside if isinstance(inside, list) else output
    return output if isinstance(output, list) else None


def _says(item: object) -> bool:
    kind = field(item, "type")
    if kind == "reasoning":
        return False
    if kind not in (None, "message"):
        return True
    content = field(item, "content")
    if isinstance(content, list):
        return any(field(part, "text") or field(part, "refusal") for part in content)
    said = ("content", "refusal", "tool_calls", "function_call", "audio")
    return any(field(item, name) for name in said)


def _refusal(data: Any) -> str | None:
    """What the model, or the SDK in its place, wrote instead of an answer."""
    for item in (_items(data) or ())[:1]:
        content = field(item, "content")
        part = content[0] if isinstance(content, list) and content else item
        return text(field(part, "refusal"))
    return None
