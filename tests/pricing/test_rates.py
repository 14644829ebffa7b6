from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import ConfigError
from tocsin.model.span import Usage
from tocsin.pricing.rates import Rate, Rates, parse_overrides

DOLLAR = Rate(Decimal(1))


def rates(**changes: Rate | Decimal | None) -> Rates:
    fields = {"input": DOLLAR, "output": Rate(Decimal(10)), "cache_read": Rate(Decimal("0.1"))}
    return Rates(**(fields | {"cache_write": Rate(Decimal("1.25"))} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, 1), (199, 1), (200, 1), (201, 2), (999, 2), (1000, 2), (1001, 3), (10**9, 3)],
)
def test_a_step_applies_above_its_start(size: int, expected: int) -> None:
    stepped = Rate(Decimal(1), ((200, Decimal(2)), (1000, Decimal(3))))

    assert expected == stepped.at(size)


USAGES = [
    (Usage(0, 0), ("0", "0", "0", "0")),
    (Usage(100, 7), ("100", "70", "0", "0")),
    (Usage(100, 7, 40), ("60", "70", "4", "0")),
    (Usage(100, 7, 40, 20), ("40", "70", "4", "25")),
    (Usage(100, 7, 100), ("0", "70", "10", "0")),
    # Broken usage: the cache cannot hold more than the input. It is still never negative.
    (Usage(10, 0, 40), ("0", "0", "4", "0")),
    (Usage(10, 0, 0, 40), ("0", "0", "0", "50")),
    (Usage(0, 0, 8), ("0", "0", "0.8", "0")),
]


@pytest.mark.parametrize(("usage", "expected"), USAGES)
def test_cost_splits_input_by_cache(usage: Usage, expected: tuple[str, ...]) -> None:
    cost = rates().cost(usage)

    assert cost is not None
    found = (cost.input, cost.output, cost.cache_read, cost.cache_write)
    assert tuple(map(Decimal, expected)) == found


@pytest.mark.parametrize(("reasoning", "expected"), [(0, 100), (4, 68), (10, 20), (99, 20)])
def test_reasoning_has_its_own_rate_where_there_is_one(reasoning: int, expected: int) -> None:
    cost = rates(reasoning=Rate(Decimal(2))).cost(Usage(0, 10, reasoning_tokens=reasoning))

    assert cost is not None
    assert expected == cost.output


def test_flat_fee_is_added_once_per_call() -> None:
    cost = rates(request_usd=Decimal("0.005")).cost(Usage(1, 0))

    assert cost is not None
    assert Decimal("1.005") == cost.total


def test_output_without_a_rate_has_no_price() -> None:
    assert rates(output=None).cost(Usage(5, 1)) is None


def test_model_without_output_is_priced_by_its_input() -> None:
    cost = rates(output=None).cost(Usage(5, 0))

    assert cost is not None
    assert Decimal(5) == cost.total


counts = st.integers(0, 1 << 40)


@given(st.builds(Usage, counts, counts, counts, counts, counts))
def test_no_usage_is_ever_priced_below_zero(usage: Usage) -> None:
    cost = rates(reasoning=Rate(Decimal(3))).cost(usage)

    assert cost is not None
    assert min(cost.input, cost.output, cost.cache_read, cost.cache_write) >= 0


def test_override_is_in_dollars_per_million() -> None:
    found = parse_overrides({"My-Model": {"input": 3, "output": "12.50"}})["my-model"]

    assert (Decimal("0.000003"), Decimal("0.0000125")) == (found.input.base, _base(found.output))


def test_override_defaults_to_input_for_cache_and_output_for_reasoning() -> None:
    found = parse_overrides({"m": {"input": 3, "output": 12}})["m"]

    assert (found.input, found.input, None) == (
        found.cache_read,
        found.cache_write,
        found.reasoning,
    )


def test_override_takes_every_rate() -> None:
    price = {"input": 1, "output": 2, "cache_read": 3.5, "cache_write": Decimal(4), "reasoning": 0}
    found = parse_overrides({"m": price})["m"]

    assert [Decimal(1), Decimal(2), Decimal("3.5"), Decimal(4), Decimal(0)] == [
        _base(rate) * 1_000_000
        for rate in (
            found.input,
            found.output,
            found.cache_read,
            found.cache_write,
            found.reasoning,
        )
    ]


def _base(rate: Rate | None) -> Decimal:
    assert rate is not None
    return rate.base


NOT_A_PRICE = "is not a price; write USD per million tokens, e.g. 2.5"
MISTAKES = [
    ({"m": 3}, "prices['m']: write {'input': USD per million tokens, 'output': …}"),
    ({"m": None}, "prices['m']: write {'input': USD per million tokens, 'output': …}"),
    ({"m": [1, 2]}, "prices['m']: write {'input': USD per million tokens, 'output': …}"),
    ({"m": {"output": 1}}, "prices['m']: 'input' is missing; write USD per million tokens"),
    ({"m": {"input": 1}}, "prices['m']: 'output' is missing; write USD per million tokens"),
    (
        {"m": {"input": 1, "output": 1, "inptu": 2}},
        "prices['m']: unknown key 'inptu'; known: input, output, cache_read, cache_write, "
        "reasoning",
    ),
    (
        {"m": {"input": 1, "output": 1, 7: 2}},
        "prices['m']: unknown key 7; known: input, output, cache_read, cache_write, reasoning",
    ),
    *[
        ({"m": {"input": bad, "output": 1}}, f"prices['m']['input']: {bad!r} {NOT_A_PRICE}")
        for bad in (
            -1,
            -0.5,
            float("nan"),
            float("inf"),
            "free",
            "",
            None,
            True,
            [1],
            Decimal("-Infinity"),
            Decimal("sNaN"),
            "NaN",
        )
    ],
]


@pytest.mark.parametrize(("prices", "expected"), MISTAKES)
def test_mistake_in_an_override_is_named(prices: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(prices)  # type: ignore[arg-type]

    assert expected == str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides({"a": {"input": -1}, "good": {"input": 1, "output": 1}, "b": 2})  # type: ignore[dict-item]

    assert (
        "prices['a']: 'output' is missing; write USD per million tokens; "
        f"prices['a']['input']: -1 {NOT_A_PRICE}; "
        "prices['b']: write {'input': USD per million tokens, 'output': …}"
    ) == str(caught.value)
