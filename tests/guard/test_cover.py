from decimal import Decimal
from typing import Any

from tests.fakes.clock import ManualClock
from tocsin.guard.account import Ledger, LimitedAccount, Shortage
from tocsin.guard.allowance import Allowance, Notice
from tocsin.guard.cover import Call, Cover
from tocsin.guard.estimate import Forecast, Habits
from tocsin.guard.limits import StopLimits


class PerToken:
    """A cent per hundred tokens; a model named "free" has no price."""

    def cost_usd(self, model: str | None, read: int, written: int) -> Decimal | None:
        return None if model == "free" else Decimal(read + written) / 10_000


class Case:
    """A run held to limits, on a clock that stands still."""

    def __init__(self, accounts: Any = None, **limits: Any) -> None:
        self.clock = ManualClock()
        self.allowance = Allowance("job", StopLimits(**limits), self.clock.monotonic_ns())
        self.cover = Cover(
            [self.allowance],
            ledger=Ledger(),
            clock=self.clock,
            tariff=PerToken(),
            accounts=accounts,
        )
        self.forecast = Forecast(Habits())

    def start(
        self, tokens: int = 100, model: str = "m", max_output: int = 1
    ) -> Call | Shortage | None:
        return self.cover.before_llm(
            self.forecast, model, input_tokens=tokens - max_output, max_output_tokens=max_output
        )

    def call(self, tokens: int = 100, used: int | None = None, model: str = "m") -> Call:
        call = self.start(tokens, model)
        assert isinstance(call, Call)
        read = tokens if used is None else used
        self.cover.after_llm(call, self.forecast, (read - 1, 1), Decimal(read) / 10_000)
        return call


def test_a_call_that_would_pass_the_limit_is_refused_before_it_is_made() -> None:
    case = Case(max_tokens=250)
    case.call()
    case.call()

    assert Shortage("job", "tokens", 300.0, 250.0) == case.start()


def test_a_run_that_was_refused_stays_refused() -> None:
    case = Case(max_tokens=250)
    first = case.start(300)

    assert first == case.start(1)
    assert first == case.cover.before_tool(1)
    assert first == case.cover.check()


def test_a_limit_passed_by_a_wrong_estimate_stops_the_next_step() -> None:
    case = Case(max_tokens=250)
    case.call(100, used=300)

    assert Shortage("job", "tokens", 300.0, 250.0) == case.cover.before_tool(1)


def test_cost_is_limited_by_the_price_of_the_model() -> None:
    case = Case(max_cost="0.02 USD")
    case.call(200)

    assert Shortage("job", "cost", 0.0201, 0.02) == case.start(1)


def test_a_model_without_price_is_not_taken_for_free_nor_stopped() -> None:
    call = Case(max_cost="0.02 USD").start(10**9, "free")

    assert isinstance(call, Call)
    assert call.hold.need.likely.cost_usd is None


def test_unknown_usage_counts_as_what_was_reserved() -> None:
    case = Case(max_tokens=250)
    call = case.start(200)
    assert isinstance(call, Call)
    case.cover.after_llm(call, case.forecast, None, None)

    assert 200 == case.allowance.tokens


def test_a_failed_call_gives_back_what_was_reserved() -> None:
    case = Case(max_tokens=250, max_turns=1)
    call = case.start(200)
    assert isinstance(call, Call)
    case.cover.failed(call)

    assert isinstance(case.start(250), Call)


def test_turns_above_the_limit_are_refused() -> None:
    case = Case(max_turns=2)
    case.call()
    case.call()

    assert Shortage("job", "turns", 3.0, 2.0) == case.start()


def test_time_is_up_for_calls_and_tools() -> None:
    case = Case(max_latency="10s")
    case.clock.advance(10)
    assert case.cover.check() is None
    case.clock.advance(0.5)

    assert Shortage("job", "latency", 10.5, 10.0) == case.cover.check()
    assert isinstance(case.start(), Shortage)


def test_left_time_is_that_of_the_first_deadline() -> None:
    case = Case(max_latency="10s")
    case.clock.advance(4)

    assert 6.0 == case.cover.left_s
    assert Case().cover.left_s is None


def test_the_same_tool_call_is_refused_once_it_is_above_the_limit() -> None:
    case = Case(same_tool_call=2)
    assert [None] * 4 == [case.cover.before_tool(fingerprint) for fingerprint in (1, 2, 1, 2)]

    assert Shortage("job", "same_tool_call", 3.0, 2.0) == case.cover.before_tool(1)


def test_tool_calls_that_cannot_be_compared_are_not_the_same() -> None:
    case = Case(same_tool_call=1)

    assert [None] * 3 == [case.cover.before_tool(None) for _ in range(3)]


def test_tool_calls_remembered_are_bounded() -> None:
    case = Case(same_tool_call=2)
    for fingerprint in range(10_000):
        case.cover.before_tool(fingerprint)

    assert len(case.allowance._tool_calls) <= 4_096


def test_warns_then_switches_then_stops() -> None:
    rules = {"warn_at": 0.5, "switch_at": 0.8, "switch": {"m": "mini"}}
    case = Case(max_tokens=500, **rules)
    calls = [case.call() for _ in range(5)]

    assert [[], [], [], [Notice("warn", "tokens", 300.0, 500.0)]] == [c.notices for c in calls[:4]]
    assert [Notice("switch", "tokens", 400.0, 500.0)] == calls[4].notices
    assert ["m"] * 4 + ["mini"] == [call.model for call in calls]
    assert isinstance(case.start(), Shortage)


def test_accounts_beside_the_limits_are_reserved_too() -> None:
    budget = LimitedAccount("budget", tokens=150)
    case = Case(accounts=lambda model, agent: [budget], max_tokens=1_000)
    case.call()

    assert Shortage("budget", "tokens", 200.0, 150.0) == case.start()
    assert 100 == budget.tokens
