from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS
from tests.fakes.spans import run
from tocsin.model.run import Breach, Contributor


def breach(limit: str, value: float, threshold: float, *, in_flight: bool = False) -> Breach:
    return Breach(
        run_id="span_1",
        trace_id="t",
        workflow="support",
        limit=limit,
        value=value,
        threshold=threshold,
        severity="warning",
        in_flight=in_flight,
    )


MESSAGES = [
    (breach("latency", 16.24, 15), "16.2 s, over the limit of 15.0 s"),
    (breach("latency", 0.5, 0.25), "500 ms, over the limit of 250 ms"),
    (breach("tokens", 8412, 8000), "8,412 tokens, over the limit of 8,000 tokens"),
    (breach("cost", 0.0123, 0.01), "$0.0123, over the limit of $0.0100"),
    (breach("cost", 2.5, 0.5), "$2.50, over the limit of $0.5000"),
    (breach("turns", 11, 10), "11 turns, over the limit of 10 turns"),
    (
        breach("first_token", 2.5, 2),
        "first token after 2.5 s, over the limit of 2.0 s",
    ),
    (
        breach("tokens", 9000, 8000, in_flight=True),
        "9,000 tokens so far, over the limit of 8,000 tokens",
    ),
]


@pytest.mark.parametrize(("found", "expected"), MESSAGES)
def test_breach_says_what_by_how_much_and_which_run(found: Breach, expected: str) -> None:
    assert f"support: {expected} (run span_1)" == found.message


DURATIONS = [(None, 0.0), (0, 0.0), (1.5, 1.5), (-5, 0.0)]


@pytest.mark.parametrize(("lasts_s", "expected"), DURATIONS)
def test_duration_is_never_negative(lasts_s: float | None, expected: float) -> None:
    assert expected == run(lasts_s=lasts_s).duration_s


COSTS = [(0, None), (1, Decimal("0.5"))]


@pytest.mark.parametrize(("priced_calls", "expected"), COSTS)
def test_cost_is_unknown_where_no_call_was_priced(
    priced_calls: int, expected: Decimal | None
) -> None:
    found = run(cost_usd=Decimal("0.5"), priced_calls=priced_calls, unpriced_calls=1)

    assert expected == found.known_cost_usd


def test_run_starts_when_it_says() -> None:
    assert NOON_NS == run().started_ns


CLOSE = [
    (breach("latency", 15.04, 15), "15.04 s, over the limit of 15.00 s"),
    (breach("latency", 0.2501, 0.25), "250.1 ms, over the limit of 250.0 ms"),
    (breach("cost", 0.50001, 0.5), "$0.50001, over the limit of $0.50000"),
    (breach("cost", 1.001, 1), "$1.001, over the limit of $1.000"),
]


@pytest.mark.parametrize(("found", "expected"), CLOSE)
def test_value_and_limit_are_told_apart(found: Breach, expected: str) -> None:
    assert f"support: {expected} (run span_1)" == found.message


PARTS = (
    Contributor("model", "gpt-4.1", "billing", 71, 0.71),
    Contributor("model", "gpt-4.1", "refunds", 15, 0.15),
    Contributor("tool", "search", "billing", 7, 0.07),
    Contributor("agent", "billing", None, 4, 0.04),
    Contributor("others", "others", None, 3, 0.03),
)


def breach_of_parts(**fields: Any) -> Breach:
    found: dict[str, Any] = {
        "run_id": "r1",
        "trace_id": "t1",
        "workflow": "support",
        "limit": "tokens",
        "value": 8412,
        "threshold": 8000,
        "severity": "warning",
        "in_flight": True,
        "contributors": PARTS,
    }
    return Breach(**(found | fields))


def test_a_breach_says_what_has_taken_most() -> None:
    expected = (
        "support: 8,412 tokens so far, over the limit of 8,000 tokens;"
        " 71 % gpt-4.1 in agent billing (run r1)"
    )
    assert expected == breach_of_parts().message
    assert PARTS[:3] == breach_of_parts().largest


def test_a_breach_of_a_run_that_is_not_known_yet_names_its_trace() -> None:
    assert breach_of_parts(run_id=None).message.endswith("in agent billing (trace t1)")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("model", {"gpt-4.1": 0.86}),
        ("tool", {"search": 0.07}),
        ("agent", {"billing": 0.82, "refunds": 0.15}),
    ],
)
def test_shares_of_agents_models_and_tools(kind: str, expected: dict[str, float]) -> None:
    assert expected == pytest.approx(breach_of_parts().shares(kind))
