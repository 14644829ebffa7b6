"""A Guard's calls wait for their part in a shared budget, but never on an event loop's thread."""

import asyncio
import threading
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

import tocsin
from tests.fakes.process import wait_for
from tocsin.app.watcher import Watcher
from tocsin.guard.budgets import Budget
from tocsin.guard.periods import Period

PRICES = {"m": {"input": 10, "output": 10}}
USED = {"input_tokens": 100, "output_tokens": 100}


class Growing:
    """A room that has nothing yet."""

    def __init__(self) -> None:
        self.granted = Decimal(0)
        self.asked = threading.Event()
        self.spent = Decimal(0)

    def granted_usd(self, period: Period) -> Decimal:
        return self.granted

    def ask(self, period: Period, total_usd: Decimal) -> bool:
        self.asked.set()
        return True

    def used(self, period: Period, spent_usd: Decimal, held_usd: Decimal) -> None:
        self.spent = spent_usd


@pytest.fixture
def room() -> Growing:
    return Growing()


@pytest.fixture(params=["open"])
def watcher(request: pytest.FixtureRequest, room: Growing) -> Iterator[Watcher]:
    watcher = Watcher(prices=PRICES)
    budget = Budget("all", limit=1, stop_at=1, on_failure=request.param)
    watcher.add_budgets([budget], rooms={"all": room})
    yield watcher
    watcher.close()


def guard() -> tocsin.Guard:
    return tocsin.Guard(tocsin.StopLimits(max_turns=9), prices=PRICES)


def call(own: tocsin.Guard) -> None:
    own.after_llm(own.before_llm(model="m", input_tokens=100), USED)


def test_waits_for_its_part(watcher: Watcher, room: Growing) -> None:
    def grant() -> None:
        room.asked.wait(5)
        time.sleep(0.05)
        room.granted = Decimal(1)

    threading.Thread(target=grant).start()
    call(guard())

    assert Decimal("0.002") == room.spent


def test_goes_through_in_an_event_loop_and_is_told_of_later(
    watcher: Watcher, room: Growing
) -> None:
    async def main() -> float:
        began_s = time.monotonic()
        call(guard())
        return time.monotonic() - began_s

    assert asyncio.run(main()) < 1
    assert wait_for(lambda: room.spent == Decimal("0.002"), 5)


@pytest.mark.parametrize("watcher", ["closed"], indirect=True)
def test_is_refused_in_an_event_loop_where_the_budget_says_so(
    watcher: Watcher, room: Growing
) -> None:
    async def main() -> None:
        call(guard())

    with pytest.raises(tocsin.LimitExceeded, match="budget"):
        asyncio.run(main())
