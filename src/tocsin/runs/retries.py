"""Tell a tool's retries from its first calls, within one run."""

from typing import Final

from tocsin.model.span import ErrorClass, Span

__all__ = ["RetryWatch"]

MAX_CALLS: Final = 1_024
"""Distinct calls remembered per run; a run with more is looping, and counted by then."""


class RetryWatch:
    """A call is a retry if the tool failed just before it, or had the same arguments before."""

    def __init__(self) -> None:
        self._failed_ns: dict[str, int] = {}
        self._seen: set[tuple[str, int]] = set()

    def is_retry(self, call: Span) -> bool:
        """Judge a finished tool call and remember it."""
        failed_ns = self._failed_ns.pop(call.name, None)
        # A parallel call that began before the failure was known did not react to it.
        after_failure = failed_ns is not None and call.started_ns >= failed_ns
        if call.error is not None and call.error is not ErrorClass.CANCELLED:
            if len(self._failed_ns) < MAX_CALLS:
                self._failed_ns[call.name] = call.ended_ns
        elif failed_ns is not None and not after_failure:
            self._failed_ns[call.name] = failed_ns
        return self._repeats(call) or after_failure

    def _repeats(self, call: Span) -> bool:
        if call.arguments is None:
            return False
        key = (call.name, call.arguments)
        if key in self._seen:
            return True
        if len(self._seen) < MAX_CALLS:
            self._seen.add(key)
        return False
