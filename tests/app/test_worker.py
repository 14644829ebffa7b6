import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tocsin.app import worker
from tocsin.app.queue import EventQueue
from tocsin.app.worker import MAX_LOGGED, Worker
from tocsin.sources.agents_sdk.events import Event


def in_s(seconds: float) -> float:
    """A deadline."""
    return time.monotonic() + seconds


class Steps:
    """What a worker does: notes events and ticks; does as `on_event` says with each event."""

    def __init__(self) -> None:
        self.queue = EventQueue()
        self.events: list[int] = []
        self.ticks = 0
        self.on_event: Callable[[int], object] = lambda n: None
        self.on_tick: Callable[[], object] = lambda: None
        self.worker = Worker(self.queue, self.process, self.tick)

    def process(self, event: Event) -> None:
        self.events.append(event[0])
        self.on_event(event[0])

    def tick(self) -> None:
        self.ticks += 1
        self.on_tick()

    def put(self, *numbers: int) -> None:
        for n in numbers:
            self.queue.put((n, None, 0, None))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    monkeypatch.setattr(worker, "POLL_S", 0.001)  # an idle worker looks again at once
    found = Steps()
    yield found
    found.worker.close(in_s(5))


def raises(error: BaseException) -> Callable[..., object]:
    def step(*_: Any) -> None:
        raise error

    return step


def test_flush_waits_until_all_is_processed_in_order(steps: Steps) -> None:
    steps.worker.start()
    steps.put(*range(100))

    assert (True, list(range(100))) == (steps.worker.flush(5), steps.events)


def test_flush_ticks_after_the_last_event(steps: Steps) -> None:
    seen: list[int] = []
    steps.on_tick = lambda: seen.append(len(steps.events))
    steps.put(1, 2, 3)
    steps.worker.flush(5)

    assert 3 == seen[-1]


def test_flush_starts_a_worker_that_has_work(steps: Steps) -> None:
    steps.put(1)

    assert (True, [1]) == (steps.worker.flush(5), steps.events)


def test_flush_without_work_starts_no_thread(steps: Steps) -> None:
    assert (True, False) == (steps.worker.flush(5), steps.worker.running)


def test_flush_gives_up_when_time_is_over(steps: Steps) -> None:
    release = threading.Event()
    steps.on_event = lambda n: release.wait(10)
    steps.put(1)
    flushed = steps.worker.flush(0.05)
    release.set()

    assert flushed is False


def test_flush_on_the_workers_own_thread_returns_at_once(steps: Steps) -> None:
    flushed: list[bool] = []
    steps.on_event = lambda n: flushed.append(steps.worker.flush(60))
    steps.put(1)
    steps.worker.flush(5)

    assert [False] == flushed


def test_flushes_of_many_threads_all_return(steps: Steps) -> None:
    results: list[bool] = []
    steps.put(*range(200))
    threads = [
        threading.Thread(target=lambda: results.append(steps.worker.flush(5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ([True] * 8, list(range(200))) == (results, steps.events)


FAILURES = [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), RecursionError()]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_worker_survives_an_event_that_raises(steps: Steps, error: BaseException) -> None:
    steps.on_event = lambda n: raises(error)() if n == 1 else None
    steps.put(0, 1, 2)

    assert (True, [0, 1, 2], 1) == (steps.worker.flush(5), steps.events, steps.worker.errors)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_worker_survives_a_tick_that_raises(steps: Steps, error: BaseException) -> None:
    steps.on_tick = raises(error)
    steps.put(0, 1)

    assert (True, [0, 1], True) == (
        steps.worker.flush(5),
        steps.events,
        steps.worker.errors > 0,
    )


def test_only_the_first_failures_are_logged(steps: Steps, caplog: pytest.LogCaptureFixture) -> None:
    steps.on_event = raises(ValueError("x"))
    steps.put(*range(50))
    steps.worker.flush(5)

    assert (50, MAX_LOGGED) == (steps.worker.errors, len(caplog.records))


class RaisingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("a handler of the program itself")


def test_thread_that_dies_is_replaced(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    handler = RaisingHandler()
    logging.getLogger("tocsin.app.worker").addHandler(handler)
    try:
        steps.on_event = lambda n: raises(ValueError("x"))() if n == 1 else None
        steps.put(1)
        steps.worker.start()
        thread = steps.worker._thread
        assert thread is not None
        thread.join(5)
    finally:
        logging.getLogger("tocsin.app.worker").removeHandler(handler)

    assert (False, 0) == (steps.worker.running, steps.queue.room)
    steps.put(2)
    assert (True, [1, 2]) == (steps.worker.flush(5), steps.events)


def test_close_processes_what_is_waiting(steps: Steps) -> None:
    steps.worker.start()
    steps.put(*range(500))

    assert (True, list(range(500))) == (steps.worker.close(in_s(5)), steps.events)
    assert not steps.worker._thread.is_alive()  # type: ignore[union-attr]


def test_close_keeps_to_its_deadline(steps: Steps) -> None:
    release = threading.Event()
    steps.on_event = lambda n: release.wait(10)
    steps.worker.start()
    steps.put(1)
    started_s = time.monotonic()
    closed = steps.worker.close(in_s(0.2))
    took_s = time.monotonic() - started_s
    release.set()

    assert (False, True) == (closed, took_s < 0.35)


def test_close_on_the_workers_own_thread_does_not_wait_for_itself(steps: Steps) -> None:
    steps.on_event = lambda n: steps.worker.close(in_s(60))
    steps.put(1)
    steps.worker.start()
    steps.worker._thread.join(5)  # type: ignore[union-attr]

    assert not steps.worker._thread.is_alive()  # type: ignore[union-attr]


def test_closed_worker_neither_starts_nor_keeps_anything(steps: Steps) -> None:
    steps.worker.close(in_s(1))
    steps.worker.start()
    steps.put(1)

    assert (False, True, 0, []) == (
        steps.worker.running,
        steps.worker.flush(1),
        len(steps.queue),
        steps.events,
    )


def test_closing_twice_is_closing(steps: Steps) -> None:
    steps.worker.start()

    assert [True, True] == [steps.worker.close(in_s(5)) for _ in range(2)]


def test_many_threads_start_one_worker(steps: Steps) -> None:
    before = threading.active_count()
    threads = [threading.Thread(target=steps.worker.start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert before + 1 == threading.active_count()


def test_worker_that_cannot_have_a_thread_says_so_and_can_try_again(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", raises(RuntimeError("can't start new thread")))
        steps.worker.start()
        running = steps.worker.running
    steps.put(1)

    assert (False, True, [1]) == (running, steps.worker.flush(5), steps.events)


def test_forked_child_starts_a_thread_of_its_own_and_counts_anew(steps: Steps) -> None:
    steps.on_event = raises(ValueError("x"))
    steps.put(1)
    steps.worker.flush(5)
    steps.worker.running = False  # as if the thread had stayed with the parent
    steps.worker._thread.join(5)  # type: ignore[union-attr]
    steps.worker.reset_after_fork()
    steps.queue.reset_after_fork()
    steps.on_event = lambda n: None
    steps.put(2)

    assert (True, [1, 2], 0) == (steps.worker.flush(5), steps.events, steps.worker.errors)
