"""Read fields of the SDK's span objects, which may hold anything at all."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from tocsin.model.label import GROUP_TAG, clean_tag
from tocsin.model.span import ErrorClass, Usage
from tocsin.sources.error_class import classify_text

__all__ = [
    "arguments_hash",
    "endpoint",
    "error_class",
    "error_text",
    "field",
    "identifier",
    "tags",
    "text",
    "timestamp_ns",
    "tool_error",
    "usage",
]

MAX_HASHED: Final = 65_536
"""Characters of a tool's arguments that tell calls apart, beside their length."""
TOOL_TIMEOUT: Final = re.compile(r"Tool '.{1,200}' timed out after \S+ seconds\.")
MCP_ERROR: Final = re.compile(r"Error (?:executing|calling|invoking) (?:MCP )?tool\b")
REJECTED: Final = "was manually rejected by user."
MAX_ID: Final = 256
MAX_TIME_NS: Final = 1 << 63
MAX_TOKENS: Final = 1 << 40
"""A count above this is a broken field, not a call."""


def field(source: object, name: str) -> Any:
    """Value of a mapping's key or an object's attribute; None where there is none."""
    if isinstance(source, Mapping):
        return source.get(name)
    return getattr(source, name, None)


def text(value: object) -> str | None:
    """The value if it is a string with something in it."""
    return value if isinstance(value, str) and value else None


def identifier(value: object) -> str | None:
    """The value if it is a string that can be an id: printable, and of bounded length."""
    if isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable():
        return value
    return None


def tags(metadata: object, group_id: object, names: Collection[str]) -> dict[str, str] | None:
    """Values of the tags that are asked for, in a trace's metadata; None where it has none."""
    found = {
        name: clean_tag(field(metadata, name)) for name in names if isinstance(metadata, Mapping)
    }
    if GROUP_TAG in names:
        found[GROUP_TAG] = clean_tag(group_id) or found.get(GROUP_TAG)
    return {name: value for name, value in found.items() if value is not None} or None


def endpoint(value: object) -> str | None:
    """A base URL without credentials and query; None where the value is none."""
    url = identifier(value)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def timestamp_ns(value: object) -> int | None:
    """ISO 8601 text as nanoseconds since the epoch; None where it is not that.

    Times before 1970 or after 2262 are nonsense, and some of them no datetime can hold.
    """
    if not isinstance(value, str):
        return None
    try:
        found = int(datetime.fromisoformat(value).timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError, OSError):
        return None
    return found if 0 <= found < MAX_TIME_NS else None


def usage(raw: object) -> Usage | None:
    """Token counts of an LLM call, or None where the provider reported none.

    The SDK writes zeros when a provider reports nothing; a call that read and wrote no token
    does not exist, so all zeros mean unknown.
    """
    read, written = _counts(raw, "input_tokens", "output_tokens")
    if not read and not written:
        return None
    inputs, outputs = field(raw, "input_tokens_details"), field(raw, "output_tokens_details")
    cache_read, cache_write = _counts(inputs, "cached_tokens", "cache_write_tokens")
    (reasoning,) = _counts(outputs, "reasoning_tokens")
    return Usage(read, written, cache_read, cache_write, reasoning)


def _counts(source: object, *names: str) -> list[int]:
    """Counts of tokens; 0 for what is none. What kind of source it is, is found out once."""
    get = source.get if isinstance(source, Mapping) else None
    counts = []
    for name in names:
        value = get(name) if get else getattr(source, name, None)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_TOKENS:
            value = 0
        counts.append(value)
    return counts


def arguments_hash(arguments: object, trace_id: str = "") -> int | None:
    """Fingerprint of a tool's JSON arguments, so that nothing of them has to be kept.

    The same in every process that continues a trace; in another trace, equal arguments differ, so
    that no table of known fingerprints gives them away. 64 bits with a sign.
    """
    if not isinstance(arguments, str):
        return None
    digest = blake2b(digest_size=8, key=trace_id.encode("utf-8", "replace")[:64])
    if len(arguments) > MAX_HASHED:
        digest.update(b"%d:" % len(arguments))
        arguments = arguments[:MAX_HASHED]
    digest.update(arguments.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big", signed=True)


def error_text(error: object) -> str:
    """The most specific text of a span's error, or ""."""
    detail = text(field(field(error, "data"), "error"))
    return detail or text(field(error, "message")) or ""


def error_class(error: object) -> ErrorClass:
    """Class of an LLM span's error by its text."""
    return classify_text(error_text(error))


def tool_error(error: object, output: object, *, is_mcp: bool) -> ErrorClass | None:
    """Why a tool call failed, or None if it did not.

    A tool's own timeout and a failing MCP tool leave no error on the span: only the output, meant
    for the model, says so. A call that a person rejected did not fail.
    """
    if error is not None:
        if error_text(error).endswith(REJECTED):
            return None
        if text(field(error, "message")) == "Tool execution cancelled":
            return ErrorClass.CANCELLED
        return error_class(error)
    answer = text(output)
    if answer is not None and TOOL_TIMEOUT.match(answer[:300]):
        return ErrorClass.TIMEOUT
    if is_mcp and MCP_ERROR.match((answer or text(field(output, "text")) or "")[:300]):
        return ErrorClass.OTHER
    return None
