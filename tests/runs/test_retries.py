from typing import Any

import pytest

from tests.fakes.spans import span
from tocsin.model.span import ErrorClass, Kind, Span
from tocsin.runs.retries import MAX_CALLS, RetryWatch


def tool(name: str = "lookup", at_s: float = 0, **fields: Any) -> Span:
    return span(Kind.TOOL, name=name, at_s=at_s, **fields)


FAILED: dict[str, Any] = {"error": ErrorClass.OTHER}

SEQUENCES = [
    ("one call", [tool()], [False]),
    ("no arguments recorded", [tool(), tool(at_s=2)], [False, False]),
    ("same arguments", [tool(arguments=1), tool(at_s=2, arguments=1)], [False, True]),
    ("other arguments", [tool(arguments=1), tool(at_s=2, arguments=2)], [False, False]),
    ("same arguments, other tool", [tool(arguments=1), tool("b", arguments=1)], [False, False]),
    ("after a failure", [tool(arguments=1, **FAILED), tool(at_s=2, arguments=2)], [False, True]),
    ("other tool after a failure", [tool(**FAILED), tool("b", at_s=2)], [False, False]),
    (
        "failure twice",
        [tool(**FAILED), tool(at_s=2, **FAILED), tool(at_s=4), tool(at_s=6)],
        [False, True, True, False],
    ),
    ("cancelled is no failure", [tool(error=ErrorClass.CANCELLED), tool(at_s=2)], [False, False]),
    (
        "parallel call that began before the failure, then a retry",
        [tool(**FAILED), tool(at_s=0.5), tool(at_s=3)],
        [False, False, True],
    ),
    (
        "parallel failures, then one retry",
        [tool(**FAILED), tool(at_s=0.5, **FAILED), tool(at_s=3)],
        [False, False, True],
    ),
]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [pytest.param(calls, expected, id=name) for name, calls, expected in SEQUENCES],
)
def test_retries(calls: list[Span], expected: list[bool]) -> None:
    watch = RetryWatch()

    assert expected == [watch.is_retry(call) for call in calls]


def test_looping_run_is_remembered_within_bounds() -> None:
    watch = RetryWatch()
    for n in range(10 * MAX_CALLS):
        watch.is_retry(tool(f"tool-{n}", arguments=n, **FAILED))

    assert (MAX_CALLS, MAX_CALLS) == (len(watch._seen), len(watch._failed_ns))
