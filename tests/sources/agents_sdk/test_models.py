import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Iterator
from contextvars import ContextVar
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tocsin.model.span import ErrorClass
from tocsin.sources.agents_sdk import models
from tocsin.sources.agents_sdk.events import CALL, CALL_FAILED, FIRST_TOKEN, Event
from tocsin.sources.agents_sdk.models import ModelWatch, watch_fetch, watch_stream

CHANGED: ContextVar[str] = ContextVar("changed", default="")


def delta(n: int) -> SimpleNamespace:
    return SimpleNamespace(type="response.output_text.delta", n=n)


class FakeModel:
    """Shaped as the SDK's model classes; `fails` is raised, by a stream after its first event."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.model = "gpt-4o"
        self._client = SimpleNamespace(base_url="https://api.openai.com/v1/")
        self.fails = fails
        self.closed = 0

    async def _fetch_response(self, prompt: str, *, stream: bool = False) -> str:
        """Fetch."""
        CHANGED.set("by the model")
        if self.fails is not None:
            raise self.fails
        return f"{prompt} {stream}"

    async def stream_response(self, count: int, *, first: int = 0) -> AsyncGenerator[Any, None]:
        """Stream."""
        try:
            yield SimpleNamespace(type="response.created")
            if self.fails is not None:
                raise self.fails
            for n in range(first, count):
                yield delta(n)
        finally:
            await asyncio.sleep(0)
            self.closed += 1


FETCH, STREAM = FakeModel._fetch_response, FakeModel.stream_response


@pytest.fixture
def span(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The span that the SDK has open."""
    current = SimpleNamespace(span_id="s", span_data=SimpleNamespace(type="response"))
    monkeypatch.setattr(models, "get_current_span", lambda: current)
    return current


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a model class, known to ModelWatch."""
    found = ModuleType("tocsin_fake_models")
    found.FakeModel = FakeModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, found.__name__, found)
    monkeypatch.setattr(models, "MODEL_CLASSES", ((found.__name__, "FakeModel"),))
    yield found.__name__
    FakeModel._fetch_response = FETCH  # type: ignore[method-assign]
    FakeModel.stream_response = STREAM  # type: ignore[method-assign]


def methods() -> tuple[Any, Any]:
    return FakeModel._fetch_response, FakeModel.stream_response


def kinds(events: list[Event]) -> list[int]:
    return [event[0] for event in events]


# --- _fetch_response ----------------------------------------------------------------------


def test_fetch_returns_what_the_model_returns(span: object) -> None:
    events: list[Event] = []
    fetch = watch_fetch(FETCH, events.append)

    assert "hi True" == asyncio.run(fetch(FakeModel(), "hi", stream=True))
    ((kind, span_id, at_ns, target),) = events
    assert (CALL, "s", True) == (kind, span_id, at_ns > 0)
    assert ("gpt-4o", "https://api.openai.com/v1/") == target


FAILURES = [
    (ValueError("no"), ErrorClass.OTHER),
    (TimeoutError(), ErrorClass.TIMEOUT),
    (asyncio.CancelledError(), ErrorClass.CANCELLED),
    (GeneratorExit(), ErrorClass.CANCELLED),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES)
def test_fetch_raises_what_the_model_raises(
    span: object, error: BaseException, expected: ErrorClass
) -> None:
    events: list[Event] = []

    async def call() -> BaseException | None:
        try:
            await watch_fetch(FETCH, events.append)(FakeModel(error), "hi")
        except BaseException as caught:  # noqa: BLE001 - that is what is tested
            return caught
        return None

    assert asyncio.run(call()) is error
    assert (expected, [CALL, CALL_FAILED]) == (events[-1][3], kinds(events))


def test_error_whose_text_raises_is_the_one_that_comes_through(span: object) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("unspeakable")

    events: list[Event] = []
    with pytest.raises(UnspeakableError):
        asyncio.run(watch_fetch(FETCH, events.append)(FakeModel(UnspeakableError()), "hi"))

    assert (CALL_FAILED, None) == (events[-1][0], events[-1][3])


def test_cancelled_fetch_is_cancelled(span: object) -> None:
    events: list[Event] = []

    async def hang(self: object) -> None:
        await asyncio.sleep(60)

    async def call() -> bool:
        task = asyncio.create_task(watch_fetch(hang, events.append)(FakeModel()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(call())
    assert ErrorClass.CANCELLED is events[-1][3]


def test_fetch_sees_and_sets_the_callers_context(span: object) -> None:
    async def call() -> str:
        await watch_fetch(FETCH, lambda event: None)(FakeModel(), "hi")
        return CHANGED.get()

    assert "by the model" == asyncio.run(call())


CURRENT: list[Any] = [
    None,
    SimpleNamespace(span_id="s", span_data=SimpleNamespace(type="function")),
    SimpleNamespace(span_id="s"),
    object(),
]


@pytest.mark.parametrize("current", CURRENT)
def test_call_outside_of_an_llm_span_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, current: Any
) -> None:
    events: list[Event] = []
    monkeypatch.setattr(models, "get_current_span", lambda: current)

    assert "hi False" == asyncio.run(watch_fetch(FETCH, events.append)(FakeModel(), "hi"))
    assert [] == events


TARGETS: list[tuple[Any, tuple[str | None, str | None]]] = [
    (SimpleNamespace(model="m", _client=SimpleNamespace(base_url="http://x")), ("m", "http://x")),
    (SimpleNamespace(model="m", base_url="http://y"), ("m", "http://y")),
    (SimpleNamespace(model="m", _client=None, base_url=None), ("m", None)),
    (SimpleNamespace(), (None, None)),
    (object(), (None, None)),
]


@pytest.mark.parametrize(("model", "expected"), TARGETS)
def test_target_is_what_the_model_tells(
    span: object, model: Any, expected: tuple[str | None, str | None]
) -> None:
    events: list[Event] = []

    async def answer(self: Any) -> str:
        return "ok"

    assert "ok" == asyncio.run(watch_fetch(answer, events.append)(model))
    assert expected == events[0][3]


# --- stream_response ----------------------------------------------------------------------


def test_stream_yields_what_the_model_yields(span: object) -> None:
    events: list[Event] = []

    async def read() -> list[Any]:
        stream = watch_stream(STREAM, events.append)(FakeModel(), 4, first=1)
        return [getattr(event, "n", None) async for event in stream]

    assert [None, 1, 2, 3] == asyncio.run(read())
    assert [(FIRST_TOKEN, "s")] == [event[:2] for event in events]


def test_stream_without_tokens_has_no_first_one(span: object) -> None:
    events: list[Event] = []

    async def read() -> int:
        return len([0 async for _ in watch_stream(STREAM, events.append)(FakeModel(), 0)])

    assert (1, []) == (asyncio.run(read()), events)


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), SystemError()])
def test_stream_raises_what_the_model_raises(span: object, error: BaseException) -> None:
    model = FakeModel(error)

    async def read() -> tuple[int, BaseException | None]:
        seen = 0
        try:
            async for _ in watch_stream(STREAM, lambda event: None)(model, 3):
                seen += 1
        except BaseException as caught:  # noqa: BLE001 - that is what is tested
            return seen, caught
        return seen, None

    assert (1, error) == asyncio.run(read())
    assert 1 == model.closed


def test_stream_that_is_closed_early_closes_the_models(span: object) -> None:
    model = FakeModel()

    async def read() -> None:
        stream = watch_stream(STREAM, lambda event: None)(model, 99)
        async for event in stream:
            if getattr(event, "n", 0) == 2:
                break
        await stream.aclose()

    asyncio.run(read())
    assert 1 == model.closed


def test_stream_that_was_never_read_can_be_closed(span: object) -> None:
    async def close() -> None:
        await watch_stream(STREAM, lambda event: None)(FakeModel(), 99).aclose()

    asyncio.run(close())


def test_abandoned_stream_is_closed_by_the_event_loop(span: object) -> None:
    model = FakeModel()

    async def read() -> None:
        async for _ in watch_stream(STREAM, lambda event: None)(model, 99):
            return

    async def go_on() -> None:
        await read()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(go_on())
    assert 1 == model.closed


ODD_EVENTS = [None, 7, SimpleNamespace(), SimpleNamespace(type=None), {"type": "x.delta"}]


@pytest.mark.parametrize("odd", ODD_EVENTS)
def test_odd_events_pass(span: object, odd: Any) -> None:
    async def stream(self: Any) -> AsyncGenerator[Any, None]:
        yield odd

    async def read() -> list[Any]:
        return [event async for event in watch_stream(stream, lambda event: None)(FakeModel())]

    assert [odd] == asyncio.run(read())


# --- wrapping and undoing -----------------------------------------------------------------


def test_class_is_wrapped_once_its_module_is_there(module: str) -> None:
    waiting = sys.modules.pop(module)
    watch = ModelWatch(lambda event: None)
    watch.refresh()
    before = methods()
    sys.modules[module] = waiting
    watch.refresh()
    after = methods()
    watch.refresh()

    assert (True, False, True) == (
        before == (FETCH, STREAM),
        after == before,
        methods() == after,
    )


def test_wrapped_methods_look_like_the_originals(module: str) -> None:
    ModelWatch(lambda event: None).refresh()

    assert [("_fetch_response", "Fetch."), ("stream_response", "Stream.")] == [
        (method.__name__, method.__doc__) for method in methods()
    ]


def test_undo_puts_the_originals_back(module: str) -> None:
    watch = ModelWatch(lambda event: None)
    watch.refresh()
    watch.undo()

    assert (FETCH, STREAM) == methods()


def test_watch_that_was_undone_wraps_nothing_any_more(module: str) -> None:
    watch = ModelWatch(lambda event: None)
    watch.refresh()
    watch.undo()
    watch.refresh()

    assert (FETCH, STREAM) == methods()


def test_second_watch_goes_on_when_the_first_is_undone(module: str, span: object) -> None:
    events: list[Event] = []
    first, second = ModelWatch(lambda event: None), ModelWatch(events.append)
    first.refresh()
    second.refresh()
    first.undo()

    assert "hi False" == asyncio.run(FakeModel()._fetch_response("hi"))
    assert [CALL] == kinds(events)


@pytest.mark.parametrize("last_first", [True, False])
def test_watches_that_are_undone_hear_nothing_in_any_order(
    module: str, span: object, last_first: bool
) -> None:
    events: list[Event] = []
    watches = [ModelWatch(events.append) for _ in range(2)]
    for watch in watches:
        watch.refresh()
    for watch in reversed(watches) if last_first else watches:
        watch.undo()

    assert "hi False" == asyncio.run(FakeModel()._fetch_response("hi"))
    assert [] == events


def test_somebody_elses_wrapper_is_left_in_place(module: str) -> None:
    watch = ModelWatch(lambda event: None)
    watch.refresh()

    async def theirs(self: Any, prompt: str, *, stream: bool = False) -> str:
        return "theirs"

    FakeModel._fetch_response = theirs  # type: ignore[method-assign]
    watch.undo()

    assert "theirs" == asyncio.run(FakeModel()._fetch_response("hi"))
    assert STREAM == FakeModel.stream_response


def test_unknown_shape_is_left_alone_and_logged(
    monkeypatch: pytest.MonkeyPatch, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Other:
        def _fetch_response(self) -> str:
            return "plain"

        async def stream_response(self) -> str:
            return "no generator"

    monkeypatch.setattr(sys.modules[module], "FakeModel", Other)
    with caplog.at_level(logging.INFO):
        ModelWatch(lambda event: None).refresh()

    assert "plain" == Other()._fetch_response()
    assert [
        "Other._fetch_response has an unknown shape: not watched",
        "Other.stream_response has an unknown shape: not watched",
    ] == caplog.messages


@pytest.mark.parametrize("found", [None, 7, object(), type("Empty", (), {})])
def test_module_without_the_class_or_its_methods_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, module: str, found: Any
) -> None:
    monkeypatch.setattr(sys.modules[module], "FakeModel", found)
    watch = ModelWatch(lambda event: None)
    watch.refresh()
    watch.undo()


def test_inherited_method_is_left_to_the_class_that_has_it(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    class Child(FakeModel):
        pass

    monkeypatch.setattr(sys.modules[module], "FakeModel", Child)
    ModelWatch(lambda event: None).refresh()

    assert (FETCH, STREAM) == methods()
