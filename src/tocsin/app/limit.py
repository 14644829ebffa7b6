"""`with tocsin.limit(...)`: limits for what is run inside, together."""

import logging
import sys
from contextvars import Token
from typing import Any

from tocsin.app.run_guard import SCOPE, Scope
from tocsin.clock import SYSTEM_CLOCK
from tocsin.errors import ConfigError
from tocsin.guard.allowance import Allowance
from tocsin.guard.limits import StopLimits

__all__ = ["limit"]

logger = logging.getLogger(__name__)


class limit:  # noqa: N801 - reads as `with tocsin.limit(...)`
    """Hold all runs and guards inside a `with` or `async with` block, together, to limits.

    Time counts from the block's beginning. Limits of workflows, and of blocks around it, hold as
    well. Arguments as the fields of StopLimits without `max_`; raises ConfigError as it does.
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        cost: Any = None,
        latency: Any = None,
        turns: int | None = None,
        same_tool_call: int | None = None,
        on_failure: str = "open",
    ) -> None:
        self._limits = StopLimits(
            max_tokens=tokens,
            max_cost=cost,
            max_latency=latency,
            max_turns=turns,
            same_tool_call=same_tool_call,
            on_failure=on_failure,
        )
        if not self._limits.limits:
            raise ConfigError('limit: it limits nothing; write limit(cost="0.50 USD"), for one')
        self._entered: list[Token[Scope]] = []

    def __enter__(self) -> Allowance:
        """Begin; what is returned knows what has been used so far: `.tokens`, `.cost_usd`."""
        watch_runner()
        own = Allowance("tocsin.limit", self._limits, SYSTEM_CLOCK.monotonic_ns())
        around = SCOPE.get()
        scope = Scope((*around.allowances, own), purse=around.purse)
        self._entered.append(SCOPE.set(scope))
        return own

    def __exit__(self, *_: object) -> None:
        """End."""
        SCOPE.reset(self._entered.pop())

    async def __aenter__(self) -> Allowance:
        """Begin, as `with` does."""
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """End."""
        self.__exit__()


def watch_runner() -> None:
    """See to it that somebody watches the SDK's runner, in a program that uses the SDK."""
    if sys.modules.get("agents") is None:
        return
    from agents.run import get_default_agent_runner

    from tocsin.sources.agents_sdk.runner import WatchedRunner

    if not isinstance(get_default_agent_runner(), WatchedRunner):
        from tocsin.app.install import default_watcher

        default_watcher()
        if not isinstance(get_default_agent_runner(), WatchedRunner):
            logger.warning("the SDK's runner is not watched: tocsin.limit limits no runs")
