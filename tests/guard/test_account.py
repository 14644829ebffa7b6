import threading
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.guard.account import Amount, Hold, Ledger, LimitedAccount, Need, Shortage

LIMIT = 1_000


def firm(tokens: int, turns: int = 0) -> Need:
    amount = Amount(tokens, Decimal(tokens) / 1000, turns)
    return Need(amount, amount)


def guess(tokens: int, likely: int) -> Need:
    return Need(firm(tokens).firm, firm(likely).likely)


def held(result: Hold | Shortage | None) -> Hold:
    assert isinstance(result, Hold)
    return result


def test_reserves_in_all_accounts_or_in_none() -> None:
    ledger, wide, narrow = Ledger(), LimitedAccount(tokens=100), LimitedAccount("narrow", tokens=10)

    refused = ledger.reserve([wide, narrow], firm(11))

    assert Shortage("narrow", "tokens", 11.0, 10.0) == refused
    assert 0 == wide.held_tokens


class Broken(LimitedAccount):
    def hold(self, need: Need) -> Amount:
        raise RuntimeError


def test_an_account_that_fails_leaves_nothing_reserved() -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=100)

    with pytest.raises(RuntimeError):
        ledger.reserve([account, Broken()], firm(11))

    assert (0, 0) == (account.held_tokens, account.tokens)


def test_a_call_that_fits_exactly_is_let_through() -> None:
    assert isinstance(Ledger().reserve([LimitedAccount(tokens=10)], firm(10)), Hold)


def test_settles_with_what_was_used_and_only_once() -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=100)
    hold = held(ledger.reserve([account], firm(50)))

    ledger.settle(hold, Amount(20, None))
    ledger.settle(hold, Amount(20, None))

    assert (20, 0) == (account.tokens, account.held_tokens)


def test_a_guess_takes_what_is_left_and_stops_nothing() -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=100)

    hold = held(ledger.reserve([account], guess(10, 500)))

    assert Amount(100, Decimal("0.5")) == hold.parts[0][1]
    assert isinstance(ledger.reserve([account], firm(1)), Shortage)


def test_an_unknown_cost_limits_nothing() -> None:
    account = LimitedAccount(cost_usd=Decimal("0.01"))
    amount = Amount(5_000, None)

    assert isinstance(Ledger().reserve([account], Need(amount, amount)), Hold)


def test_turns_are_reserved_too() -> None:
    ledger, account = Ledger(), LimitedAccount(turns=1)
    held(ledger.reserve([account], firm(1, turns=1)))

    assert isinstance(ledger.reserve([account], firm(1, turns=1)), Shortage)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "guess", "settle", "release"]),
        st.integers(1, 400),  # what is reserved, or which of the calls in flight is meant
        st.integers(-100, 100),  # how wrong the estimate is
    ),
    max_size=80,
)


@given(STEPS)
def test_only_errors_of_estimates_pass_a_limit(steps: list[tuple[str, int, int]]) -> None:
    """Whatever the order: used + reserved <= limit + errors of the calls in flight at crossing."""
    ledger, account = Ledger(), LimitedAccount(tokens=LIMIT, cost_usd=Decimal(LIMIT) / 1000)
    flying: list[Hold] = []
    crossing: list[int] = []  # under-estimates since there was last room
    for step, number, error in steps:
        if step in ("reserve", "guess"):
            need = firm(number) if step == "reserve" else guess(number // 2, number)
            result = ledger.reserve([account], need)
            if isinstance(result, Hold):
                flying.append(result)
                assert account.tokens + account.held_tokens <= LIMIT
                crossing.clear()
        elif flying:
            hold = flying.pop(number % len(flying))
            reserved = hold.parts[0][1].tokens
            used = max(0, reserved + error) if step == "settle" else 0
            ledger.settle(hold, firm(used).firm)
            crossing.append(max(0, used - reserved))
        assert account.tokens + account.held_tokens <= LIMIT + sum(crossing)
        assert account.cost_usd * 1000 == account.tokens
        assert account.held_usd * 1000 == account.held_tokens


@given(STEPS)
def test_where_one_estimate_is_wrong_the_limit_is_passed_by_that_error(
    steps: list[tuple[str, int, int]],
) -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=LIMIT)
    flying: list[Hold] = []
    wrong = max((error for _, _, error in steps), default=0)
    spent = False
    for step, number, error in steps:
        if step in ("reserve", "guess"):
            result = ledger.reserve([account], firm(number))
            if isinstance(result, Hold):
                flying.append(result)
        elif flying:
            hold = flying.pop(number % len(flying))
            is_wrong = error == wrong and not spent
            spent = spent or is_wrong
            reserved = hold.parts[0][1].tokens
            ledger.settle(hold, firm(max(0, reserved + (wrong if is_wrong else 0))).firm)
        assert account.tokens + account.held_tokens <= LIMIT + max(0, wrong)


SIZES = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 60)), min_size=1, max_size=40)


@given(SIZES, st.randoms(use_true_random=False))
def test_calls_that_wait_for_each_other_pass_a_limit_by_one_error(
    calls: list[tuple[int, int]], random: Any
) -> None:
    """Estimates at most `doubt` times too small, in any order: used <= limit + one call's error."""
    ledger, account = Ledger(), LimitedAccount(tokens=LIMIT)
    doubt = max(used / likely for likely, used in calls)
    flying: list[tuple[Hold, int]] = []
    waiting = list(calls) * 5
    while waiting or flying:
        if waiting and random.random() < 0.8:
            likely, used = waiting[-1]
            need = Need(Amount(1), Amount(likely), max(1.0, doubt))
            result = ledger.reserve([account], need, alone=True)
            if isinstance(result, Hold):
                flying.append((result, used))
            if result is not None:
                waiting.pop()
                continue
        if flying:
            hold, used = flying.pop(random.randrange(len(flying)))
            ledger.settle(hold, Amount(used))
    worst = max(used - 1 for _, used in calls)
    assert account.tokens <= LIMIT + worst
    assert (0, 0) == (account.held_tokens, account.in_flight)


def test_waits_only_near_the_limit_and_only_for_others() -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=100)
    need = Need(Amount(1), Amount(10), doubt=5.0)

    first = ledger.reserve([account], need, alone=True)
    second = ledger.reserve([account], need, alone=True)
    third = ledger.reserve([account], need, alone=True)

    assert isinstance(first, Hold)
    assert isinstance(second, Hold)
    assert third is None
    assert isinstance(ledger.reserve([account], need), Hold)


def test_learns_from_calls_how_wrong_estimates_are() -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=1_000)
    ledger.settle(held(ledger.reserve([account], firm(10))), Amount(100))
    held(ledger.reserve([account], firm(40), alone=True))

    assert ledger.reserve([account], firm(60), alone=True) is None  # 100 + 10 * (40 + 60)
    assert isinstance(ledger.reserve([account], firm(40), alone=True), Hold)


def test_calls_in_doubt_are_feared_for_as_long_as_they_are_in_flight() -> None:
    """However right the estimates of other calls turn out meanwhile."""
    ledger, account = Ledger(), LimitedAccount(tokens=3_000)
    doubtful = Need(Amount(100), Amount(100), doubt=6.0)
    flying = [held(ledger.reserve([account], doubtful, alone=True)) for _ in range(2)]
    while isinstance(hold := ledger.reserve([account], firm(200), alone=True), Hold):
        ledger.settle(hold, Amount(200))
    for hold in flying:
        ledger.settle(hold, Amount(600))

    assert account.tokens <= 3_000 + 500


class Unsettled(LimitedAccount):
    def settle(self, *_: Any) -> None:
        raise RuntimeError("a bug")


def test_an_account_that_fails_keeps_no_other_from_being_given_back() -> None:
    ledger, sound = Ledger(), LimitedAccount(tokens=LIMIT)
    hold = held(ledger.reserve([sound, Unsettled(), LimitedAccount()], firm(7)))

    with pytest.raises(RuntimeError):
        ledger.settle(hold, Amount(7))
    ledger.release(hold)

    assert (0, 0) == (sound.held_tokens, sound.in_flight)


def test_threads_together_reserve_no_more_than_there_is() -> None:
    ledger, account = Ledger(), LimitedAccount(tokens=LIMIT)
    barrier = threading.Barrier(16)

    def spend() -> None:
        barrier.wait()
        for _ in range(200):
            result = ledger.reserve([account], firm(7))
            if isinstance(result, Hold):
                ledger.settle(result, Amount(7, None))

    threads = [threading.Thread(target=spend) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (LIMIT // 7 * 7, 0) == (account.tokens, account.held_tokens)
