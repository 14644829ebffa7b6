import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from tocsin.app.queue import EventQueue
from tocsin.sources.agents_sdk.events import Event


def event(n: int) -> Event:
    return (n, f"subject {n}", n, None)


def all_of(queue: EventQueue) -> list[Event]:
    return list(iter(queue.take, None))


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads interrupt each other as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_events_come_out_as_they_went_in() -> None:
    queue = EventQueue()
    for n in range(3):
        queue.put(event(n))

    assert (3, [event(0), event(1), event(2)]) == (len(queue), all_of(queue))


def test_empty_queue_gives_nothing() -> None:
    assert EventQueue().take() is None


def test_events_beyond_the_limit_are_dropped_and_counted() -> None:
    queue = EventQueue(2)
    for n in range(5):
        queue.put(event(n))

    assert (3, [event(0), event(1)]) == (queue.dropped, all_of(queue))


def test_taking_makes_room() -> None:
    queue = EventQueue(1)
    queue.put(event(0))
    queue.take()
    queue.put(event(1))

    assert (0, [event(1)]) == (queue.dropped, all_of(queue))


def test_our_own_events_are_never_dropped() -> None:
    queue = EventQueue(0)
    queue.put_always(event(0))

    assert (0, [event(0)]) == (queue.dropped, all_of(queue))


def test_refusing_queue_drops_everything() -> None:
    queue = EventQueue()
    queue.open()
    queue.refuse()
    queue.put(event(0))

    assert (0, 1, 0) == (len(queue), queue.dropped, queue.room)


def test_room_is_there_only_while_somebody_takes() -> None:
    queue = EventQueue(10)
    rooms = [queue.room]
    queue.open()
    rooms.append(queue.room)
    queue.close()

    assert [0, 40, 0] == [*rooms, queue.room]


def test_count_of_drops_is_read_without_a_deprecated_way() -> None:
    queue = EventQueue(0)
    queue.put(event(0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = queue.dropped

    assert (1, [], 1) == (found, [str(one.message) for one in caught], queue.dropped)
    # itertools.count has no pickle form from Python 3.14 on.
    assert "__reduce__" not in EventQueue.dropped.fget.__code__.co_names  # type: ignore[attr-defined]


def test_drops_of_four_threads_are_counted_exactly(eager_switching: None) -> None:
    queue, per_thread = EventQueue(0), 20_000

    def produce() -> None:
        for n in range(per_thread):
            queue.put(event(n))

    threads = [threading.Thread(target=produce) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 * per_thread == queue.dropped


def test_no_event_of_four_threads_is_lost_torn_or_doubled(eager_switching: None) -> None:
    queue, per_thread = EventQueue(500), 5_000
    taken: list[Event] = []
    done = threading.Event()

    def produce(first: int) -> None:
        for n in range(first, first + per_thread):
            queue.put(event(n))

    def consume() -> None:
        while not done.is_set() or len(queue):
            found = queue.take()
            if found is not None:
                taken.append(found)

    threads = [threading.Thread(target=produce, args=(n * per_thread,)) for n in range(4)]
    consumer = threading.Thread(target=consume)
    for thread in [consumer, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    consumer.join()

    assert 4 * per_thread == len(taken) + queue.dropped
    assert {n: event(n) for n, *_ in taken} == {found[0]: found for found in taken}
    assert len(taken) == len({found[0] for found in taken})


def test_forked_child_has_nothing_of_its_parents() -> None:
    queue = EventQueue(1)
    queue.open()
    for n in range(3):
        queue.put(event(n))
    queue.reset_after_fork()

    assert (0, 0, 0) == (len(queue), queue.dropped, queue.room)
