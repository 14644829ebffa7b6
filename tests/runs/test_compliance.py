import pytest

from tocsin.runs.compliance import Kept, budget_left, burn_rate, windows_s
from tocsin.runs.limits import WorkflowSLA


def kept(within: int, beyond: int, unknown: int = 0) -> Kept:
    return Kept(window_s=60, within=within, beyond=beyond, unknown=unknown)


CASES = [
    # within, beyond, unknown, target, share, burn rate, budget left
    (990, 10, 0, 0.99, 0.99, 1.0, 0.0),
    (995, 5, 0, 0.99, 0.995, 0.5, 0.5),
    (980, 20, 0, 0.99, 0.98, 2.0, -1.0),
    (100, 0, 0, 0.99, 1.0, 0.0, 1.0),
    (0, 4, 0, 0.75, 0.0, 4.0, -3.0),
    (3, 1, 96, 0.75, 0.75, 1.0, 0.0),
    (9, 1, 0, None, 0.9, None, None),
    (0, 0, 0, 0.99, None, None, None),
    (0, 0, 50, 0.99, None, None, None),
]


@pytest.mark.parametrize(("within", "beyond", "unknown", "target", "share", "rate", "left"), CASES)
def test_share_burn_rate_and_what_is_left(
    within: int,
    beyond: int,
    unknown: int,
    target: float | None,
    share: float | None,
    rate: float | None,
    left: float | None,
) -> None:
    found = kept(within, beyond, unknown)
    expected = [None if one is None else pytest.approx(one) for one in (share, rate, left)]
    assert expected == [found.share, burn_rate(found, target), budget_left(found, target)]


@pytest.mark.parametrize(
    ("own_s", "expected"),
    [
        (30 * 86_400, (3600, 86_400, 30 * 86_400)),
        (86_400, (3600, 86_400)),
        (7200, (3600, 7200)),
        (60, (60,)),
    ],
)
def test_windows(own_s: float, expected: tuple[float, ...]) -> None:
    assert expected == windows_s(WorkflowSLA(window_seconds=own_s))
