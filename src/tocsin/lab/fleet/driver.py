"""Start a fleet's runs when they are due, and take what becomes of them."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from agents.exceptions import AgentsException
from openai import APIError, AsyncOpenAI, DefaultAsyncHttpxClient

from tocsin.lab.fleet.arrivals import Arrival
from tocsin.lab.fleet.billing import BILLING
from tocsin.lab.fleet.research import RESEARCH
from tocsin.lab.fleet.support import SUPPORT
from tocsin.lab.fleet.workflow import Workflow

__all__ = ["WORKFLOWS", "Fleet", "connect"]

logger = logging.getLogger(__name__)

WORKFLOWS: Final = (SUPPORT, RESEARCH, BILLING)
MAX_ACTIVE: Final = 200
CALL_TIMEOUT_S: Final = 4.0


def connect(base_url: str) -> AsyncOpenAI:
    """Return a client of a fake LLM server. It tries nothing twice: the SDK does, visibly."""
    return AsyncOpenAI(
        base_url=base_url,
        api_key="none",
        max_retries=0,
        timeout=CALL_TIMEOUT_S,
        http_client=DefaultAsyncHttpxClient(trust_env=False),  # a proxy would not find it
    )


class Fleet:
    """Runs workflows, at most `max_active` at a time: what comes beyond waits for its turn."""

    def __init__(
        self,
        client: AsyncOpenAI,
        *,
        workflows: Iterable[Workflow] = WORKFLOWS,
        max_active: int = MAX_ACTIVE,
    ) -> None:
        self._client = client
        self._workflows: Mapping[str, Workflow] = {flow.name: flow for flow in workflows}
        self._slots = asyncio.Semaphore(max_active)
        self._active: set[asyncio.Task[None]] = set()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        """Runs by what their caller got: "ok" or the name of an exception."""

    async def run(self, arrivals: Iterator[Arrival]) -> None:
        """Start each run when it is due, until there are none left or this task is cancelled."""
        began_s = asyncio.get_running_loop().time()
        for arrival in arrivals:
            due_s = began_s + arrival.at_s - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, due_s))
            await self._slots.acquire()
            task = asyncio.create_task(self._run_one(arrival))
            self._active.add(task)
            task.add_done_callback(self._active.discard)

    async def finish(self, timeout_s: float) -> None:
        """Wait for the runs that are going on; cancel those that take longer."""
        if self._active:
            await asyncio.wait(self._active, timeout=timeout_s)
        left = list(self._active)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _run_one(self, arrival: Arrival) -> None:
        self.started[arrival.workflow] += 1
        run = asyncio.create_task(self._workflows[arrival.workflow].start(arrival, self._client))
        try:
            done, _ = await asyncio.wait([run], timeout=arrival.cancel_after_s)
            if not done:
                run.cancel()
            await run
            self.ended["ok"] += 1
        except asyncio.CancelledError:
            self.ended["CancelledError"] += 1
            run.cancel()
            with suppress(asyncio.CancelledError, AgentsException, APIError):
                await run
        except (AgentsException, APIError) as error:
            self.ended[type(error).__name__] += 1
        except Exception:
            self.ended["unexpected"] += 1
            logger.exception("a run of %s failed in an unexpected way", arrival.workflow)
        finally:
            self._slots.release()
