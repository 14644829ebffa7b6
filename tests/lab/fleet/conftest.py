import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest
from agents.tracing import get_trace_provider, set_trace_processors

from tocsin.app.watcher import Watcher
from tocsin.lab.demo.figures import Snapshot
from tocsin.lab.fake_llm import Behaviour, FakeLLM
from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.driver import WORKFLOWS, Fleet, connect
from tocsin.lab.fleet.models import PROFILES, Profile, fake_models
from tocsin.lab.fleet.workflow import pick
from tocsin.meters import catalogue as m

RELIABLE = dict.fromkeys(PROFILES, Profile(median_s=0.001, failures=0.0))

Play = Callable[..., tuple[Fleet, Snapshot]]


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """A watcher that is all that the SDK's spans go to."""
    before = getattr(get_trace_provider(), "_multi_processor")._processors  # noqa: B009
    watcher = Watcher()
    set_trace_processors([watcher.processor])
    yield watcher
    watcher.close()
    set_trace_processors(list(before))


@pytest.fixture
def play(watcher: Watcher) -> Play:
    """Run arrivals against models that are quick and never fail; return fleet and metrics."""

    def go(
        *arrivals: Arrival, models: dict[str, Behaviour] | None = None
    ) -> tuple[Fleet, Snapshot]:
        fakes = fake_models(WORKFLOWS, RELIABLE) | (models or {})

        async def main(llm: FakeLLM) -> Fleet:
            async with connect(llm.base_url) as client:
                fleet = Fleet(client)
                await fleet.run(iter(arrivals))
                await fleet.finish(10.0)
                return fleet

        with FakeLLM(models=fakes) as llm:
            fleet = asyncio.run(main(llm))
        return fleet, _settled(watcher, len(arrivals))

    return go


def _settled(watcher: Watcher, runs: int) -> Snapshot:
    """Metrics once all runs are counted: one that was cancelled may take a second."""
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s:
        assert watcher.flush()
        now = Snapshot(watcher.families())
        if now.total(m.RUNS) == runs:
            return now
        time.sleep(0.02)
    raise AssertionError("a run is still open")


def saying(
    workflow: str, phrases: Sequence[tuple[float, str]], words: str, **fields: object
) -> Arrival:
    """An arrival whose seed makes it use the phrase with these words."""
    seeds = (str(number) for number in range(10_000))
    seed = next(seed for seed in seeds if words in pick(Random(seed), phrases))
    known: dict[str, object] = {"index": 0, "at_s": 0.0, "workflow": workflow, "seed": seed}
    return Arrival(**(known | fields))  # type: ignore[arg-type]


@pytest.fixture(name="saying")
def saying_fixture() -> Callable[..., Arrival]:
    return saying
