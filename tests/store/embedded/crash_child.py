"""Commits batches and seals days until it is killed: crash_child.py DIRECTORY FIRST

Says the position of each batch once it is committed. Batch n holds ten calls of run n; days pass
fast. Every few batches an already committed one is offered again.
"""

import sys
from pathlib import Path

from tests.fakes.store_rows import DAY, START, make_call, make_run
from tocsin.store.base import Batch
from tocsin.store.embedded import sealing, writer
from tocsin.store.embedded.store import EmbeddedStore

BATCHES_PER_DAY = 4
SPANS = 10


def make_batch(number: int) -> Batch:
    at = number * DAY // BATCHES_PER_DAY
    spans = [make_call(number * SPANS + i, run=number, at=at + i) for i in range(SPANS)]
    return Batch(spans=spans, runs=[make_run(number, at=at)], position=number)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(directory: str) -> None:
    setattr(writer, "ROLL_UP_EVERY", 35)  # noqa: B010 - final, except here
    setattr(sealing, "LATE_ENOUGH", 5)  # noqa: B010
    store = EmbeddedStore(Path(directory), retention_days=None)
    number = store.position()
    while True:
        number += 1
        store.commit(make_batch(number))
        say(f"stored {number}")
        if number % 3 == 0:
            store.commit(make_batch(number - 2))
        late = make_call(10**6 + number, run=number, at=(number - 9) * DAY // BATCHES_PER_DAY)
        store.commit(Batch(spans=[late]))
        say(f"late {number}")
        store.seal(START + number * DAY // BATCHES_PER_DAY)


if __name__ == "__main__":
    main(sys.argv[1])
