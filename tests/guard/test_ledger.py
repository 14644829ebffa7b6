"""Any order of steps on a ledger and covers: what must hold after each of them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from tests.fakes.clock import ManualClock
from tocsin.guard.account import Amount, Hold, Ledger, LimitedAccount, Need, Shortage
from tocsin.guard.allowance import Allowance
from tocsin.guard.cover import Call, Cover
from tocsin.guard.estimate import Forecast, Habits
from tocsin.guard.limits import StopLimits

TOKENS = st.integers(1, 300)
LIMITS = st.integers(200, 3_000)


def usd(tokens: int) -> Decimal:
    """A thousandth of a dollar for each token, so that limits of both kinds can be compared."""
    return Decimal(tokens) / 1_000


class Broken(LimitedAccount):
    """Fails when it is told to hold something."""

    def hold(self, need: Need) -> Amount:
        raise RuntimeError("a bug")


class Accounts(RuleBasedStateMachine):
    """Calls reserve in several accounts at once; each uses at most `doubt` times what is likely.

    All of them ask to be `alone` near a limit.
    """

    holds = Bundle("holds")

    @initialize(tokens=LIMITS, cost=LIMITS, both=LIMITS, turns=st.integers(1, 30))
    def start(self, tokens: int, cost: int, both: int, turns: int) -> None:
        self.ledger = Ledger()
        self.accounts = [
            LimitedAccount("tokens", tokens=tokens),
            LimitedAccount("cost", cost_usd=usd(cost)),
            LimitedAccount("both", tokens=both, cost_usd=usd(both), turns=turns),
        ]
        self.open: list[tuple[Hold, list[tuple[LimitedAccount, Amount]]]] = []
        self.worst = 0

    @rule(
        target=holds,
        which=st.sets(st.integers(0, 2), min_size=1),
        firm=TOKENS,
        more=st.integers(0, 200),
        doubt=st.sampled_from([1.0, 1.0, 2.0, 6.0]),
        turns=st.integers(0, 1),
    )
    def reserve(self, which: set[int], firm: int, more: int, doubt: float, turns: int) -> Any:
        need = Need(
            Amount(firm, usd(firm), turns), Amount(firm + more, usd(firm + more), turns), doubt
        )
        before = self._held()
        result = self.ledger.reserve([self.accounts[n] for n in sorted(which)], need, alone=True)
        if not isinstance(result, Hold):
            assert before == self._held()
            return multiple()
        self.open.append((result, list(result.parts)))  # type: ignore[arg-type]
        return result

    @rule(hold=consumes(holds), share=st.floats(0, 1))
    def settle(self, hold: Hold, share: float) -> None:
        used = int(hold.need.likely.tokens * hold.need.doubt * share)
        self.worst = max(self.worst, used - hold.need.firm.tokens)
        self.ledger.settle(hold, Amount(used, usd(used), hold.need.likely.turns))
        self.ledger.settle(hold, Amount(10**9, usd(10**9), 10**9))  # the second time: nothing
        self._close(hold)

    @rule(hold=consumes(holds))
    def release(self, hold: Hold) -> None:
        self.ledger.release(hold)
        self.ledger.release(hold)
        self._close(hold)

    @rule(firm=TOKENS)
    def fail(self, firm: int) -> None:
        before = self._held()
        amount = Amount(firm, usd(firm), 1)
        unlimited = LimitedAccount()
        with pytest.raises(RuntimeError):
            self.ledger.reserve([unlimited, Broken()], Need(amount, amount))
        assert (before, 0, 0) == (self._held(), unlimited.held_tokens, unlimited.tokens)

    @invariant()
    def what_is_held_is_what_open_calls_hold(self) -> None:
        for account, held in zip(self.accounts, self._held(), strict=True):
            parts = [part for _, parts in self.open for owner, part in parts if owner is account]
            open_sum = (
                sum(part.tokens for part in parts),
                sum((part.cost_usd or Decimal(0) for part in parts), Decimal(0)),
                sum(part.turns for part in parts),
                len(parts),
            )
            assert open_sum == held
            assert all(amount >= 0 for amount in held)

    @invariant()
    def a_limit_is_passed_by_one_error_at_most(self) -> None:
        for account in self.accounts:
            limits: dict[str, Any] = {"tokens": 10**9, "cost": usd(10**9), "turns": 10**9}
            limits |= account.limits
            assert account.tokens <= limits["tokens"] + max(0, self.worst)
            assert account.cost_usd <= limits["cost"] + usd(max(0, self.worst))
            assert account.turns + account.held_turns <= limits["turns"]

    def _held(self) -> list[tuple[int, Decimal, int, int]]:
        return [(a.held_tokens, a.held_usd, a.held_turns, a.in_flight) for a in self.accounts]

    def _close(self, hold: Hold) -> None:
        self.open = [entry for entry in self.open if entry[0] is not hold]


class Priced:
    """The tariff of `usd`."""

    def cost_usd(self, model: str | None, read: int, written: int) -> Decimal | None:
        return usd(read + written)


class Run:
    """One of the runs that share a block, and what it was refused for."""

    def __init__(self, cover: Cover) -> None:
        self.cover = cover
        self.forecast = Forecast(Habits())
        self.refused: Shortage | None = None

    def heard(self, answer: object) -> None:
        """Hold what was answered against what was answered before."""
        if self.refused is not None:
            assert self.refused == answer
        elif isinstance(answer, Shortage):
            self.refused = answer


class Covers(RuleBasedStateMachine):
    """Three runs with limits of their own inside one block that limits them together."""

    calls = Bundle("calls")

    @initialize(own=LIMITS, block=LIMITS, latency=st.integers(1, 50), same=st.integers(1, 4))
    def start(self, own: int, block: int, latency: int, same: int) -> None:
        self.clock, ledger = ManualClock(), Ledger()
        limits = StopLimits(max_tokens=block, max_cost=usd(block), same_tool_call=same)
        self.block = Allowance("block", limits, self.clock.monotonic_ns())
        self.runs = []
        for _ in range(3):
            rules = StopLimits(max_tokens=own, max_latency=latency, warn_at=0.5)
            allowance = Allowance("run", rules, self.clock.monotonic_ns())
            cover = Cover([allowance, self.block], ledger=ledger, clock=self.clock, tariff=Priced())
            self.runs.append(Run(cover))

    @rule(target=calls, which=st.integers(0, 2), tokens=TOKENS, bound=st.none() | TOKENS)
    def before_llm(self, which: int, tokens: int, bound: int | None) -> Any:
        run = self.runs[which]
        answer = run.cover.before_llm(
            run.forecast, "m", input_tokens=tokens, max_output_tokens=bound
        )
        run.heard(answer)
        return (run, answer) if isinstance(answer, Call) else multiple()

    @rule(call=consumes(calls), read=TOKENS, written=TOKENS, is_known=st.booleans())
    def after_llm(self, call: tuple[Run, Call], read: int, written: int, is_known: bool) -> None:
        run, made = call
        tokens = (read, written) if is_known else None
        run.cover.after_llm(made, run.forecast, tokens, usd(read + written))

    @rule(call=consumes(calls))
    def failed(self, call: tuple[Run, Call]) -> None:
        call[0].cover.failed(call[1])

    @rule(which=st.integers(0, 2), fingerprint=st.none() | st.integers(0, 2))
    def before_tool(self, which: int, fingerprint: int | None) -> None:
        self.runs[which].heard(self.runs[which].cover.before_tool(fingerprint))

    @rule(which=st.integers(0, 2))
    def check(self, which: int) -> None:
        self.runs[which].heard(self.runs[which].cover.check())

    @rule(seconds=st.integers(0, 10))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.integers(-(10**6), 10**6))
    def set_the_wall_clock(self, seconds: int) -> None:
        self.clock.jump(seconds)

    @invariant()
    def runs_add_up_to_their_block(self) -> None:
        own = [run.cover.allowances[0] for run in self.runs]
        assert self.block.tokens == sum(one.tokens for one in own)
        assert self.block.turns == sum(one.turns for one in own)
        assert self.block.cost_usd == sum((one.cost_usd for one in own), Decimal(0))
        assert self.block.in_flight == sum(one.in_flight for one in own)
        for one in (*own, self.block):
            assert one.held_tokens >= 0 <= one.held_turns
            assert one.held_usd >= 0

    def teardown(self) -> None:
        for run in getattr(self, "runs", []):
            if run.refused is not None:
                assert run.refused == run.cover.check()


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCovers = Covers.TestCase
TestCovers.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
