"""Tool results that are not as new as they look."""

from collections import OrderedDict
from typing import Final

import msgspec

from tocsin.model.span import Result, Span
from tocsin.quality.settings import Quality

__all__ = ["UNKNOWN", "Freshness", "Verdict"]

MAX_TOOLS: Final = 1_000
DATA_SIZE: Final = 100
"""Characters from which on an output is data: "sent", "[]" and "not found" may repeat for ever."""


class Verdict(msgspec.Struct, frozen=True):
    """What is known of a result's freshness.

    stale: why the result is stale, in words; None where it is fresh, or nothing is known.
    dated: whether it named its data's time, for tools whose results should; None for others.
    """

    stale: str | None = None
    dated: bool | None = None


UNKNOWN: Final = Verdict()
"""Nothing is known, or there is nothing to know."""


class Streak(msgspec.Struct):
    """A tool's latest output, and when the arguments that got it last did, the oldest first."""

    output: int
    arguments: OrderedDict[int, int]
    varied: bool = False
    """The tool has answered otherwise before."""


class Freshness:
    """Judges the results of every tool, over all runs; tools not called for longest are forgotten.

    A result is stale if its data is older than the tool's `max_age_s`, or if it is the same for
    one set of arguments after another.
    """

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._window_ns = int(settings.same_output_window_s * 1e9)
        self._streaks: OrderedDict[str, Streak] = OrderedDict()

    def judge(self, call: Span) -> Verdict:
        """Judge a finished tool call, and remember its result's hash."""
        data = self._settings.tools.get(call.name)
        if call.error is not None or (call.result is None and data is None):
            return UNKNOWN
        result = call.result or Result()
        dated = None if data is None or data.time_at is None else result.data_ns is not None
        stale = self._frozen(call, result)
        if data is not None and data.max_age_s is not None and result.data_ns is not None:
            age_s = (call.ended_ns - result.data_ns) / 1e9
            if age_s > data.max_age_s:
                stale = f"{call.name} returned data {age_s:,.0f} s old, over its {data.max_age_s:g}"
        return Verdict(stale, dated)

    def _frozen(self, call: Span, result: Result) -> str | None:
        data = self._settings.tools.get(call.name)
        own = None if data is None else data.same_output
        limit = self._settings.same_output if own is None else own
        if limit is None or result.output is None or result.arguments is None:
            return None
        streak = self._streak(call.name, result.output)
        times = streak.arguments
        times.pop(result.arguments, None)
        times[result.arguments] = call.ended_ns
        while len(times) > limit or next(iter(times.values())) < call.ended_ns - self._window_ns:
            times.popitem(last=False)
        is_data = streak.varied and result.size >= DATA_SIZE
        if len(times) < limit or (own is None and not is_data):
            return None
        return f"{call.name} returned the same output for {limit} different arguments in a row"

    def _streak(self, tool: str, output: int) -> Streak:
        streak = self._streaks.pop(tool, None)
        if streak is None or streak.output != output:
            streak = Streak(output, OrderedDict(), varied=streak is not None)
        self._streaks[tool] = streak
        if len(self._streaks) > MAX_TOOLS:
            self._streaks.popitem(last=False)
        return streak
