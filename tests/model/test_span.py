from decimal import Decimal

import pytest

from tests.fakes.spans import span
from tocsin.model.span import Cost, Kind, Usage


@pytest.mark.parametrize(("lasts_s", "expected"), [(1.5, 1.5), (0, 0.0), (-3, 0.0)])
def test_duration_is_never_negative(lasts_s: float, expected: float) -> None:
    assert expected == span(Kind.TOOL, lasts_s=lasts_s).duration_s


def test_details_are_part_of_input_and_output_not_added_to_them() -> None:
    assert 15 == Usage(10, 5, 8, 2, 4).total_tokens


def test_cost_is_the_sum_of_its_parts() -> None:
    assert Decimal("0.10") == Cost(*map(Decimal, ("0.01", "0.02", "0.03", "0.04"))).total
