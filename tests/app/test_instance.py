import multiprocessing
from multiprocessing.queues import SimpleQueue
from typing import Any

from tocsin.app.instance import instance_id


def put(queue: "SimpleQueue[str]") -> None:
    queue.put(instance_id())


def test_is_the_same_in_a_process_and_another_in_a_forked_one() -> None:
    context: Any = multiprocessing.get_context("fork")
    own, queue = instance_id(), context.SimpleQueue()
    child = context.Process(target=put, args=(queue,))
    child.start()
    other = queue.get()
    child.join()

    assert own == instance_id()
    assert own != other
