"""The exception that stops a run."""

from typing import TYPE_CHECKING

from tocsin.errors import TocsinError
from tocsin.model.run import Stop

if TYPE_CHECKING:
    from agents.exceptions import AgentsException
else:
    try:
        # Only a subclass of it passes through the SDK's tools as it is.
        from agents.exceptions import AgentsException
    except ImportError:  # not installed, or a package of the user's that has the same name

        class AgentsException(Exception):  # noqa: N818
            """Stands where the SDK's would."""


__all__ = ["LimitExceeded"]


class LimitExceeded(TocsinError, AgentsException):  # noqa: N818 - named as the SDK names its own
    """A run, or what is inside `with tocsin.limit(...)`, has used up what it may use.

    Wherever the Agents SDK is installed, an AgentsException too.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop

    @property
    def limit(self) -> str:
        """tokens, cost, latency, turns or same_tool_call; "failure" where Tocsin failed."""
        return self.stop.limit

    @property
    def value(self) -> float:
        """What it came to, the refused step included; USD, seconds or a count, by `limit`."""
        return self.stop.value

    @property
    def limit_value(self) -> float:
        """What it may come to, in the same unit."""
        return self.stop.threshold

    @property
    def workflow(self) -> str:
        """Workflow of the run that was stopped."""
        return self.stop.workflow

    @property
    def run_id(self) -> str | None:
        """The run that was stopped; None where it is not traced, or began a moment ago."""
        return self.stop.run_id

    @property
    def trace_id(self) -> str | None:
        """Trace of that run."""
        return self.stop.trace_id

    def __str__(self) -> str:
        """One sentence: which workflow, what, and how much of it."""
        return self.stop.message
