import asyncio
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from agents import run as sdk_run
from agents.exceptions import (
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelBehaviorError,
    OutputGuardrailTripwireTriggered,
)

from tocsin.model.run import Outcome
from tocsin.sources.agents_sdk.events import RUN_END, Event, Ticket
from tocsin.sources.agents_sdk.processor import CURRENT_TICKET
from tocsin.sources.agents_sdk.runner import RunnerWatch, WatchedRunner, outcome_of

CHANGED: ContextVar[str] = ContextVar("changed", default="")


class FakeModels:
    """A ModelWatch that does nothing but count."""

    refreshed = 0

    def refresh(self) -> None:
        self.refreshed += 1

    def undo(self) -> None:
        pass


class FakeRunner:
    """An AgentRunner: returns its arguments, or raises; notes the ticket it saw."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.fails = fails
        self.ticket: Ticket | None = None

    def _answer(self, *args: Any, **kwargs: Any) -> Any:
        self.ticket = CURRENT_TICKET.get()
        CHANGED.set("by the run")
        if self.fails is not None:
            raise self.fails
        return args, kwargs

    async def run(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer(*args, **kwargs)

    run_sync = _answer

    def run_streamed(self, *args: Any, **kwargs: Any) -> Any:
        self._answer(*args, **kwargs)
        return SimpleNamespace(run_loop_task=kwargs.get("task"), final_output=None)


def watched(inner: Any) -> tuple[WatchedRunner, list[Event]]:
    events: list[Event] = []
    models: Any = FakeModels()
    return WatchedRunner(inner, events.append, models), events


def outcomes(events: list[Event]) -> list[Any]:
    assert {RUN_END} >= {event[0] for event in events}
    return [event[3] for event in events]


Start = Callable[[WatchedRunner], Any]
WAYS: list[Any] = [
    pytest.param(lambda r: asyncio.run(r.run("agent", "hi", max_turns=3)), id="run"),
    pytest.param(lambda r: r.run_sync("agent", "hi", max_turns=3), id="run_sync"),
]


@pytest.mark.parametrize("start", WAYS)
def test_result_is_passed_on_and_reported(start: Start) -> None:
    runner, events = watched(FakeRunner())

    assert (("agent", "hi"), {"max_turns": 3}) == start(runner)
    assert [Outcome.OK] == outcomes(events)


def tripwire(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)  # their arguments do not matter here


class ToolInputGuardrailTripwireTriggered(Exception):  # noqa: N818 - named as in later SDKs
    pass


ERRORS: list[tuple[BaseException, Outcome]] = [
    (ValueError("no"), Outcome.ERROR),
    (ModelBehaviorError("no"), Outcome.ERROR),
    (TimeoutError(), Outcome.ERROR),
    (MaxTurnsExceeded("10"), Outcome.MAX_TURNS),
    (tripwire(InputGuardrailTripwireTriggered), Outcome.GUARDRAIL),
    (tripwire(OutputGuardrailTripwireTriggered), Outcome.GUARDRAIL),
    (ToolInputGuardrailTripwireTriggered(), Outcome.GUARDRAIL),
    (asyncio.CancelledError(), Outcome.CANCELLED),
    (KeyboardInterrupt(), Outcome.CANCELLED),
    (SystemExit(1), Outcome.CANCELLED),
    (GeneratorExit(), Outcome.CANCELLED),
]
ERROR_IDS = [type(error).__name__ for error, _ in ERRORS]


@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=ERROR_IDS)
def test_outcome_of_an_exception(error: BaseException, expected: Outcome) -> None:
    assert expected is outcome_of(error)


@pytest.mark.parametrize("way", ["run", "run_sync", "run_streamed"])
@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=ERROR_IDS)
def test_exception_is_passed_on_and_reported(
    way: str, error: BaseException, expected: Outcome
) -> None:
    runner, events = watched(FakeRunner(error))
    with pytest.raises(type(error)) as caught:
        start(runner, way)

    assert caught.value is error
    assert [expected] == outcomes(events)


def start(runner: WatchedRunner, way: str) -> Any:
    found = getattr(runner, way)("agent", "hi")
    if way != "run":
        return found
    try:
        while True:  # what an event loop does, without its own ideas about SystemExit
            found.send(None)
    except StopIteration as done:
        return done.value


def test_cancelled_run_is_cancelled() -> None:
    class Slow(FakeRunner):
        async def run(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(60)

    runner, events = watched(Slow())

    async def call() -> bool:
        task = asyncio.create_task(runner.run("agent", "hi"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(call())
    assert [Outcome.CANCELLED] == outcomes(events)


def test_run_that_is_closed_from_another_context_does_not_complain() -> None:
    runner, events = watched(FakeRunner())
    run = runner.run("agent", "hi")
    asyncio.run(step(run))  # a task with a context of its own
    run.close()

    assert [Outcome.CANCELLED] == outcomes(events)


async def step(run: Any) -> None:
    run.send(None)


@pytest.mark.parametrize("way", ["run", "run_sync", "run_streamed"])
def test_run_has_a_ticket_and_leaves_none_behind(way: str) -> None:
    inner = FakeRunner()
    runner, events = watched(inner)
    start(runner, way)

    assert inner.ticket is events[0][1] is not None
    assert CURRENT_TICKET.get() is None


def test_each_run_has_its_own_ticket() -> None:
    runner, events = watched(FakeRunner())
    for _ in range(2):
        runner.run_sync("agent", "hi")

    assert events[0][1] is not events[1][1]


def test_context_that_a_run_sets_stays_set() -> None:
    runner, _ = watched(FakeRunner())

    async def call() -> str:
        await runner.run("agent", "hi")
        return CHANGED.get()

    assert "by the run" == asyncio.run(call())


# --- streams ------------------------------------------------------------------------------


async def succeed() -> str:
    return "done"


async def fail() -> None:
    raise MaxTurnsExceeded("10")


STREAMS = [
    (succeed, "none", None),
    (fail, "none", Outcome.MAX_TURNS),
    (succeed, "after_turn", Outcome.CANCELLED),
]


@pytest.mark.parametrize(("work", "cancel_mode", "expected"), STREAMS)
def test_stream_ends_with_its_background_task(
    work: Any, cancel_mode: str, expected: Outcome | None
) -> None:
    runner, events = watched(FakeRunner())

    async def consume() -> list[Any]:
        task = asyncio.create_task(work())
        result = runner.run_streamed("agent", "hi", task=task)
        result._cancel_mode = cancel_mode
        before = outcomes(events)
        await asyncio.wait([task])
        await asyncio.sleep(0)
        if not task.cancelled():
            task.exception()
        return before

    assert [] == asyncio.run(consume())
    assert [expected] == outcomes(events)


def test_cancelled_stream_is_cancelled() -> None:
    runner, events = watched(FakeRunner())

    async def consume() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        runner.run_streamed("agent", "hi", task=task)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)

    asyncio.run(consume())
    assert [Outcome.CANCELLED] == outcomes(events)


def test_error_of_a_stream_that_nobody_looked_at_is_still_asyncios_to_report() -> None:
    runner, _ = watched(FakeRunner())
    complaints: list[Any] = []

    async def consume() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        task = asyncio.create_task(fail())
        runner.run_streamed("agent", "hi", task=task)
        await asyncio.wait([task])
        del task
        await asyncio.sleep(0)

    asyncio.run(consume())
    assert ["Task exception was never retrieved"] == complaints


def test_stream_of_an_unknown_shape_leaves_it_to_the_spans() -> None:
    runner, events = watched(FakeRunner())
    runner.run_streamed("agent", "hi", task="no task")

    assert [None] == outcomes(events)


# --- in the SDK's place -------------------------------------------------------------------


@pytest.fixture(autouse=True)
def default_runner() -> Iterator[Any]:
    before = sdk_run.get_default_agent_runner()
    yield before
    sdk_run.set_default_agent_runner(before)


def test_undo_puts_the_former_runner_back(default_runner: Any) -> None:
    watch = RunnerWatch(lambda event: None)
    during = sdk_run.get_default_agent_runner()
    watch.undo()

    assert isinstance(during, WatchedRunner)
    assert default_runner is sdk_run.get_default_agent_runner()


def test_undo_leaves_what_somebody_else_has_put_there() -> None:
    watch = RunnerWatch(lambda event: None)
    theirs: Any = FakeRunner()
    sdk_run.set_default_agent_runner(theirs)
    watch.undo()

    assert theirs is sdk_run.get_default_agent_runner()


def test_runner_that_was_undone_passes_runs_on_in_silence() -> None:
    events: list[Event] = []
    sdk_run.set_default_agent_runner(FakeRunner())  # type: ignore[arg-type]
    first = RunnerWatch(events.append)
    second = RunnerWatch(lambda event: None)
    first.undo()
    sdk_run.get_default_agent_runner().run_sync("agent", "hi")  # type: ignore[arg-type]
    second.undo()

    assert [] == events
