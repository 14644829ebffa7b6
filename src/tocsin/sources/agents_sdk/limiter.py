"""What the watched runner asks of whoever limits runs; by default nobody does."""

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tocsin.sources.agents_sdk.events import Ticket

__all__ = ["Limiter", "Limits", "Unlimited", "can_be_interrupted", "run_task"]


class Limits(Protocol):
    """Limits of one call of the runner."""

    kwargs: dict[str, Any]
    """Arguments for the runner, with hooks that enforce the limits."""

    @property
    def has_deadline(self) -> bool:
        """Whether `wait` may end a run."""
        ...

    async def wait(self, run: Awaitable[Any]) -> Any:
        """Wait for a run, at most until its deadline; raises LimitExceeded then."""
        ...

    def watch(self, result: Any) -> None:
        """Hold a streamed run to its deadline."""
        ...


class Limiter(Protocol):
    """Knows the limits of every run."""

    def enter(
        self, ticket: Ticket, kwargs: dict[str, Any], run_input: object = None
    ) -> AbstractContextManager[Limits]:
        """Begin a call of the runner, which lasts as long as the context.

        Raises LimitExceeded and nothing else.
        """
        ...


class Unlimited:
    """No limits: everything passes as it is."""

    has_deadline = False

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self.kwargs = kwargs

    def __enter__(self) -> Limits:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    async def wait(self, run: Awaitable[Any]) -> Any:
        """Wait for a run to end by itself."""
        return await run

    def watch(self, result: Any) -> None:
        """Let a streamed run go on."""


def run_task(result: Any) -> "asyncio.Task[Any] | None":
    """Task behind a streamed run, as any version of the SDK calls it."""
    for name in ("run_loop_task", "_run_impl_task"):
        task = getattr(result, name, None)
        if isinstance(task, asyncio.Task):
            return task
    return None


def can_be_interrupted(result: Any) -> bool:
    """Whether a streamed run can be cancelled with an exception for whoever waits for its events.

    In old versions of the SDK, they would wait for ever, or get CancelledError.
    """
    return hasattr(result, "run_loop_task")
