import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
from agents.exceptions import MaxTurnsExceeded

from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.driver import Fleet, connect
from tocsin.lab.fleet.workflow import Workflow


def drive(
    work: Callable[[Arrival], Awaitable[object]],
    arrivals: Iterable[Arrival],
    *,
    max_active: int = 10,
    patience_s: float = 5.0,
) -> Fleet:
    async def start(arrival: Arrival, _: object) -> object:
        return await work(arrival)

    async def main() -> Fleet:
        async with connect("http://127.0.0.1:9/v1") as client:
            flow = Workflow(name="w", start=start, behaviours={})
            fleet = Fleet(client, workflows=[flow], max_active=max_active)
            await fleet.run(iter(arrivals))
            await fleet.finish(patience_s)
            return fleet

    return asyncio.run(main())


def arrival(index: int = 0, **fields: float) -> Arrival:
    return Arrival(index=index, at_s=0.0, workflow="w", seed=str(index), **fields)  # type: ignore[arg-type]


async def work(_: Arrival) -> None:
    await asyncio.sleep(0)


async def wait_forever(_: Arrival) -> None:
    await asyncio.Event().wait()


def test_counts_what_callers_get() -> None:
    async def run_out(run: Arrival) -> None:
        if run.index == 1:
            raise MaxTurnsExceeded("Max turns (4) exceeded")

    fleet = drive(run_out, [arrival(0), arrival(1), arrival(2)])

    assert {"ok": 2, "MaxTurnsExceeded": 1} == fleet.ended
    assert {"w": 3} == fleet.started


def test_bounds_how_many_run_at_once() -> None:
    active: list[int] = [0, 0]

    async def count(_: Arrival) -> None:
        active[0] += 1
        active[1] = max(active)
        await asyncio.sleep(0.001)
        active[0] -= 1

    fleet = drive(count, map(arrival, range(9)), max_active=3)

    assert (3, 9) == (active[1], fleet.ended["ok"])


def test_cancels_on_purpose() -> None:
    fleet = drive(wait_forever, [arrival(cancel_after_s=0.01)])

    assert {"CancelledError": 1} == fleet.ended


def test_finish_cancels_what_takes_too_long() -> None:
    fleet = drive(wait_forever, [arrival()], patience_s=0.01)

    assert {"CancelledError": 1} == fleet.ended


def test_one_that_fails_unexpectedly_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def break_once(run: Arrival) -> None:
        if run.index == 0:
            raise ZeroDivisionError

    fleet = drive(break_once, [arrival(0), arrival(1)])

    assert {"unexpected": 1, "ok": 1} == fleet.ended
    assert "a run of w failed in an unexpected way" in caplog.text
