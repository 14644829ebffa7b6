import pytest

from tocsin.model.run import Outcome
from tocsin.runs.outcome import derive_outcome

OK, ERROR, MAX, GUARD, CANCELLED, UNKNOWN = (
    Outcome.OK,
    Outcome.ERROR,
    Outcome.MAX_TURNS,
    Outcome.GUARDRAIL,
    Outcome.CANCELLED,
    Outcome.UNKNOWN,
)

TABLE = [
    # what the caller got, what the spans say, work left open, outcome
    (None, set(), False, OK),
    (None, set(), True, CANCELLED),
    (None, {ERROR}, False, ERROR),
    (None, {ERROR}, True, ERROR),
    (None, {CANCELLED}, False, CANCELLED),
    (None, {CANCELLED, ERROR}, False, ERROR),
    (None, {GUARD, ERROR, CANCELLED}, True, GUARD),
    (None, {MAX, GUARD, ERROR, CANCELLED}, True, MAX),
    (OK, set(), False, OK),
    (OK, {ERROR}, True, OK),  # a handled error
    (OK, {GUARD}, False, OK),
    (OK, {MAX}, False, MAX),  # rescued by a handler
    (ERROR, set(), False, ERROR),
    (ERROR, {GUARD}, False, GUARD),  # a stream that went on after its tripwire
    (ERROR, {MAX}, False, ERROR),
    (GUARD, {ERROR}, True, GUARD),
    (MAX, set(), False, MAX),
    (CANCELLED, {ERROR}, False, CANCELLED),
    (CANCELLED, {GUARD}, False, CANCELLED),
    (UNKNOWN, {ERROR}, True, UNKNOWN),
    (Outcome.STOPPED, {ERROR}, True, Outcome.STOPPED),
]


@pytest.mark.parametrize(("reported", "signals", "left_open", "expected"), TABLE)
def test_outcome(
    reported: Outcome | None, signals: set[Outcome], left_open: bool, expected: Outcome
) -> None:
    assert expected == derive_outcome(reported, signals, work_left_open=left_open)


def test_signals_that_are_no_failure_do_not_hide_success() -> None:
    assert OK == derive_outcome(None, {OK}, work_left_open=False)
