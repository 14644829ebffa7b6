"""Watch the SDK's model classes: first tokens, true errors, and models that spans leave out.

A span does not say when its first token came, and a failed or redacted call's span has no model
and no reason. So `_fetch_response` and `stream_response` of the SDK's own model classes are
wrapped. A class without those methods, in the shape known here, is left alone: its calls are
then known from their spans only.
"""

import functools
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from copy import copy
from time import monotonic_ns
from typing import Any, Final

from agents.tracing import get_current_span

from tocsin.sources.agents_sdk.events import CALL, CALL_FAILED, FIRST_TOKEN, Emit, ignore
from tocsin.sources.error_class import classify_exception

__all__ = ["CURRENT_SWITCH", "ModelSwitch", "ModelWatch"]

logger = logging.getLogger(__name__)

MODEL_CLASSES: Final = (
    ("agents.models.openai_responses", "OpenAIResponsesModel"),
    ("agents.models.openai_responses", "OpenAIResponsesWSModel"),
    ("agents.models.openai_chatcompletions", "OpenAIChatCompletionsModel"),
    ("agents.extensions.models.litellm_model", "LitellmModel"),
    ("agents.extensions.models.any_llm_model", "AnyLLMModel"),
)
KEEPS_CONNECTION: Final = "OpenAIResponsesWSModel"
"""Its copies would share, and lose, one connection: it is not switched."""
LLM_SPANS: Final = frozenset({"response", "generation"})


class ModelSwitch:
    """Names of models that one run's calls go to instead of those they name."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def apply(self, model: Any) -> Any:
        """Return the model itself, or a copy that names another; the user's stays as it is."""
        name = getattr(model, "model", None)
        target = self.names.get(name) if isinstance(name, str) else None
        if target is None or type(model).__name__ == KEEPS_CONNECTION:
            return model
        other = copy(model)
        other.model = target
        return other


CURRENT_SWITCH: ContextVar[ModelSwitch | None] = ContextVar("tocsin_switch", default=None)
"""Set inside runs whose limits may replace models."""


class ModelWatch:
    """Wraps model classes as their modules are loaded; `undo` puts the originals back."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._waiting = list(MODEL_CLASSES)
        self._undo: list[tuple[type, str, Any, Any]] = []

    def refresh(self) -> None:
        """Wrap the classes whose modules have been imported since the last call."""
        for entry in [entry for entry in self._waiting if entry[0] in sys.modules]:
            self._waiting.remove(entry)
            model = getattr(sys.modules[entry[0]], entry[1], None)
            if isinstance(model, type):
                self._wrap(model, "get_response", inspect.iscoroutinefunction, switch_get)
                self._wrap(model, "_fetch_response", inspect.iscoroutinefunction, watch_fetch)
                self._wrap(model, "stream_response", inspect.isasyncgenfunction, watch_stream)

    def undo(self) -> None:
        """Put every original method back; one that somebody wrapped since stays, in silence."""
        self._emit = ignore
        for model, name, original, ours in self._undo:
            if model.__dict__.get(name) is ours:
                setattr(model, name, original)
        self._undo.clear()
        self._waiting.clear()

    def _wrap(
        self,
        model: type,
        name: str,
        has_shape: Callable[[object], bool],
        watch: Callable[[Any, Emit], Any],
    ) -> None:
        original = model.__dict__.get(name)
        if original is None:
            return
        if not has_shape(original):
            logger.info("%s.%s has an unknown shape: not watched", model.__name__, name)
            return
        ours = watch(original, lambda event: self._emit(event))
        setattr(model, name, ours)
        self._undo.append((model, name, original, ours))


def watch_fetch(original: Callable[..., Awaitable[Any]], emit: Emit) -> Any:
    """Wrap the method that makes the HTTP call, which runs inside the LLM span."""

    @functools.wraps(original)
    async def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        span_id = _llm_span_id()
        if span_id is None:
            return await original(self, *args, **kwargs)
        emit((CALL, span_id, monotonic_ns(), _call_target(self)))
        try:
            return await original(self, *args, **kwargs)
        except BaseException as error:
            emit((CALL_FAILED, span_id, monotonic_ns(), _reason(error)))
            raise

    return fetch


def switch_get(original: Callable[..., Awaitable[Any]], _: Emit) -> Any:
    """Wrap the method that the SDK calls, so that its span too names the model that is used."""

    @functools.wraps(original)
    async def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await original(_switched(self), *args, **kwargs)

    return get


def watch_stream(original: Callable[..., AsyncGenerator[Any, None]], emit: Emit) -> Any:
    """Wrap the streaming generator to see its first token."""

    @functools.wraps(original)
    async def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        events = original(_switched(self), *args, **kwargs)
        waiting = True
        try:
            async for event in events:
                if waiting and _is_token(event):
                    waiting = False
                    if (span_id := _llm_span_id()) is not None:
                        emit((FIRST_TOKEN, span_id, monotonic_ns(), None))
                yield event
        finally:
            await events.aclose()

    return stream


def _switched(model: Any) -> Any:
    switch = CURRENT_SWITCH.get()
    if switch is None or not switch.names:
        return model
    try:
        return switch.apply(model)
    except Exception:  # noqa: BLE001 - a model that cannot be copied is used as it is
        logger.warning("%s cannot be switched", type(model).__name__)
        return model


def _is_token(event: object) -> bool:
    kind = getattr(event, "type", None)
    return isinstance(kind, str) and kind.endswith(".delta")


def _llm_span_id() -> str | None:
    try:
        span = get_current_span()
        return span.span_id if span is not None and span.span_data.type in LLM_SPANS else None
    except Exception:  # noqa: BLE001 - a foreign span must not break the user's call
        return None


def _call_target(model: Any) -> tuple[str | None, str | None]:
    try:
        client = getattr(model, "_client", None)
        url = getattr(client, "base_url", None) or getattr(model, "base_url", None)
        return str(model.model), None if url is None else str(url)
    except Exception:  # noqa: BLE001 - a foreign model must not break the user's call
        return None, None


def _reason(error: BaseException) -> object:
    try:
        return classify_exception(error)
    except Exception:  # noqa: BLE001 - an exception whose text raises must not hide itself
        return None
