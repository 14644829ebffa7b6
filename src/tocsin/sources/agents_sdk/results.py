"""What tools and models returned -> the little that is kept of it: hashes, times, kinds of end."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from tocsin.model.span import Result, Usage
from tocsin.sources.agents_sdk.fields import error_text, text

__all__ = ["DataTimes", "ending", "tool_result"]

DataTimes: TypeAlias = Mapping[str, Callable[[str], int | None]]
"""Tool -> what reads the time of its data from its output, in ns since the epoch."""

HASHED_AT_ENDS: Final = 32_768
"""Characters at each end of a long text that tell it from others, beside its length."""
MAX_ENTRIES: Final = 10_000
"""Entries of an object from which on it is not looked at: writing it down would take too long."""
BESIDE_TEXT: Final = ("refusal", "tool_calls", "function_call", "audio")
"""What a chat message may hold in place of content."""
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


def ending(data: Any, error: object, usage: Usage | None) -> tuple[str | None, bool]:
    """Why an LLM span's answer ended ("length", "content_filter", None where nothing says so), and
    whether one was recorded that holds neither text, nor a refusal, nor a call.

    Chat spans carry no reason; there an answer that used all tokens it was allowed was cut off.
    """
    items = _items(data)
    is_empty = items is not None and not any(map(_says, items))
    said = error_text(error) if error is not None else _refusal(items)
    if said:
        for pattern, reason in REASONS:
            if pattern.search(said):
                return reason, is_empty
    config = getattr(data, "model_config", None)
    allowed = None if config is None else _get(config, "max_tokens")
    if usage is not None and isinstance(allowed, int) and usage.output_tokens >= allowed > 0:
        return "length", is_empty
    return None, is_empty


def _items(data: Any) -> list[Any] | None:
    """The answer's items: of a response, or of the message or response that a chat span keeps."""
    response = getattr(data, "response", None)
    output = getattr(data, "output", None) if response is None else _get(response, "output")
    if response is None and isinstance(output, list) and len(output) == 1:
        inside = _get(output[0], "output")
        output = inside if isinstance(inside, list) else output
    return output if isinstance(output, list) else None


def _says(item: object) -> bool:
    kind = _get(item, "type")
    if kind == "reasoning":
        return False
    if kind not in (None, "message"):
        return True
    content = _get(item, "content")
    if isinstance(content, list):
        return any(_get(part, "text") or _get(part, "refusal") for part in content)
    return bool(content) or any(_get(item, name) for name in BESIDE_TEXT)


def _refusal(items: list[Any] | None) -> str | None:
    """What the SDK wrote instead of an answer; only for chat models, whose items are dumps."""
    if not items or not isinstance(items[0], dict):
        return None
    content = items[0].get("content")
    part = content[0] if isinstance(content, list) and content else items[0]
    return text(_get(part, "refusal"))


def _get(source: object, name: str) -> Any:
    """As `fields.field`, where only the SDK's own objects and their dumps occur: it is faster."""
    return source.get(name) if isinstance(source, dict) else getattr(source, name, None)
