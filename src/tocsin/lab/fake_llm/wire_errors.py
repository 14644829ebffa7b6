"""HTTP errors as OpenAI words them."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import json

from tocsin.lab.fake_llm.script import Failure


class _Wording(NamedTuple):
    type: str
    code: str | None
    message: str


_BY_STATUS: Mapping[int, _Wording] = {
    400: _Wording("invalid_request_error", None, "The request is not valid."),
    401: _Wording("invalid_request_error", "invalid_api_key", "Incorrect API key provided: x."),
    403: _Wording("invalid_request_error", None, "You are not allowed to use this resource."),
    404: _Wording("invalid_request_error", "model_not_found", "The model does not exist."),
    429: _Wording("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: _Wording("server_error", None, "The server had an error processing your request."),
    503: _Wording("server_error", None, "The engine is currently overloaded, please try later."),
}
_BY_CODE: Mapping[str, _Wording] = {
    "context_length_exceeded": _Wording(
        "invalid_request_error",
        "context_length_exceeded",
        "Your input exceeds the context window of this model. Please adjust your input.",
    ),
    "content_filter": _Wording(
        "invalid_request_error",
        "content_filter",
        "The response was filtered because the prompt triggered the content policy.",
    ),
    "insufficient_quota": _Wording(
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
}
_PARAMS: Mapping[str | None, str] = {"context_length_exceeded": "input", "model_not_found": "model"}


def error_body(failure: Failure) -> bytes:
    """The JSON body of an HTTP error."""
    family = _BY_STATUS[500] if failure.status >= 500 else _BY_STATUS[400]
    wording = _BY_CODE.get(failure.code or "") or _BY_STATUS.get(failure.status, family)
    code = failure.code or wording.code
    error = {
        "message": failure.message or wording.message,
        "type": wording.type,
        "param": _PARAMS.get(code),
        "code": code,
    }
    return json.encode({"error": error})


def error_headers(failure: Failure) -> list[tuple[bytes, bytes]]:
    """When to retry, in whole seconds and in milliseconds: the client prefers the latter."""
    if failure.retry_after_s is None:
        return []
    return [
        (b"retry-after", b"%d" % math.ceil(failure.retry_after_s)),
        (b"retry-after-ms", b"%d" % round(failure.retry_after_s * 1000)),
    ]
