"""Time is divided among what works, whatever is inside of what."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tocsin.runs import own_time
from tocsin.runs.own_time import OwnTime
from tocsin.runs.takers import Taker

S = 1_000_000_000


class Clocked:
    """Begins and ends parts by name, in seconds."""

    def __init__(self) -> None:
        self.time = OwnTime(0)
        self.takers: dict[str, Taker] = {}

    def begin(self, name: str, parent: str | None, at_s: float) -> None:
        taker = self.takers.setdefault(name, Taker("tool", name))
        around = None if parent is None else self.time.open.get(parent)
        self.time.begin(name, taker, around, int(at_s * S))

    def end(self, name: str, at_s: float) -> None:
        part = self.time.open.pop(name)
        self.time.end(part, part.taker, int(at_s * S))

    def taken(self, now_s: float) -> dict[str, float]:
        self.time.bring_up(int(now_s * S))
        return {name: round(taker.own_ns / S, 3) for name, taker in self.takers.items()}


def test_what_waits_for_its_parts_takes_only_the_rest() -> None:
    run = Clocked()
    run.begin("agent", None, 0)
    run.begin("model", "agent", 1)
    run.end("model", 4)
    run.begin("tool", "agent", 4)
    run.end("tool", 9)
    run.end("agent", 10)
    assert {"agent": 2, "model": 3, "tool": 5} == run.taken(99)


def test_parts_at_once_share_the_time() -> None:
    run = Clocked()
    run.begin("agent", None, 0)
    run.begin("a", "agent", 0)
    run.begin("b", "agent", 2)
    run.end("a", 6)
    run.end("b", 8)
    run.end("agent", 8)
    assert {"agent": 0, "a": 4, "b": 4} == run.taken(99)


def test_what_goes_on_has_taken_its_time_so_far() -> None:
    run = Clocked()
    run.begin("agent", None, 0)
    run.begin("tool", "agent", 1)
    assert {"agent": 1, "tool": 4} == run.taken(5)
    assert {"agent": 1, "tool": 4} == run.taken(5)
    run.end("tool", 7)
    assert {"agent": 2, "tool": 6} == run.taken(8)


def test_what_is_left_behind_works_on_alone() -> None:
    run = Clocked()
    run.begin("agent", None, 0)
    run.begin("tool", "agent", 1)
    run.end("agent", 2)
    run.end("tool", 5)
    assert {"agent": 1, "tool": 4} == run.taken(9)


def test_a_clock_that_goes_back_takes_nothing() -> None:
    run = Clocked()
    run.begin("agent", None, 5)
    run.begin("tool", "agent", 3)
    run.end("tool", 7)
    run.end("agent", 6)
    assert {"agent": 0, "tool": 2} == run.taken(1)


def test_too_many_at_once_are_their_parents(monkeypatch: Any) -> None:
    monkeypatch.setattr(own_time, "MAX_OPEN", 2)
    run = Clocked()
    for name, parent in (("agent", None), ("a", "agent"), ("b", "agent")):
        run.begin(name, parent, 0)
    run.end("a", 4)
    run.end("agent", 6)
    assert {"agent": 2, "a": 4, "b": 0} == run.taken(6)


@st.composite
def trees(draw: Any) -> list[tuple[int, int | None, int, int]]:
    """Parts as number, parent, begin, end; children anywhere in time after their parent began."""
    parts: list[tuple[int, int | None, int, int]] = []
    for number in range(draw(st.integers(1, 7))):
        parent = draw(st.integers(0, number - 1)) if number else None
        earliest = 0 if parent is None else parts[parent][2]
        begin = draw(st.integers(earliest, earliest + 5))
        parts.append((number, parent, begin, draw(st.integers(begin, begin + 8))))
    return parts


@given(trees())
def test_times_are_those_of_dividing_each_second_by_hand(parts: Any) -> None:
    run = Clocked()
    moments = [(begin, 0, number) for number, _, begin, _ in parts]
    moments += [(end, 1, -number) for number, _, _, end in parts]
    for at, what, key in sorted(moments):
        number = abs(key)
        if what == 0:
            parent = parts[number][1]
            run.begin(str(number), None if parent is None else str(parent), at)
        else:
            run.end(str(number), at)
    assert by_hand(parts) == run.taken(99)


def by_hand(parts: Any) -> dict[str, float]:
    taken = {str(number): 0.0 for number, *_ in parts}
    for second in range(max(end for *_, end in parts)):
        going = {number for number, _, begin, end in parts if begin <= second < end}
        # What began when its parent was over is no part of what goes on.
        busy = {parts[number][1] for number in going if is_inside(parts, number)}
        working = going - busy
        for number in working:
            taken[str(number)] += 1 / len(working)
    return {name: round(seconds, 3) for name, seconds in taken.items()}


def is_inside(parts: Any, number: int) -> bool:
    _, parent, begin, _ = parts[number]
    return parent is not None and begin <= parts[parent][3]
