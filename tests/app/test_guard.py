import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

import tocsin
from tests.fakes.clock import ManualClock
from tocsin.app import install, run_guard
from tocsin.guard.cover import Cover

PRICES = {"m": {"input": 10, "output": 10}}


@pytest.fixture(autouse=True)
def no_watcher_stays() -> Iterator[None]:
    """`tocsin.limit` sees to it that somebody watches the runner; later tests have their own."""
    yield
    install.default_watcher().close()


def guard(**limits: Any) -> tocsin.Guard:
    return tocsin.Guard(tocsin.StopLimits(**limits), workflow="job", prices=PRICES)


def used(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written}


def test_refuses_the_call_that_would_pass_a_limit() -> None:
    own = guard(max_tokens=250)
    own.after_llm(own.before_llm(model="m", input_tokens=100), used(100, 100))

    with pytest.raises(tocsin.LimitExceeded) as caught:
        own.before_llm(model="m", input_tokens=100, max_output_tokens=10)

    error = caught.value
    assert ("tokens", 310.0, 250.0, "job") == (
        error.limit,
        error.value,
        error.limit_value,
        error.workflow,
    )
    assert "job: stopped at 310 tokens, over the limit of 250 tokens" == str(error)


def test_prices_calls() -> None:
    own = guard(max_cost="0.01 USD")
    own.after_llm(own.before_llm(model="m", input_tokens=100), used(400, 100))

    assert Decimal("0.005") == own.used.cost_usd
    with pytest.raises(tocsin.LimitExceeded, match=r"at \$0.0150, over the limit of \$0.0100"):
        own.before_llm(model="m", input_tokens=500, max_output_tokens=500)


@pytest.mark.parametrize(
    "usage",
    [
        used(3, 4),
        SimpleNamespace(input_tokens=3, output_tokens=4),
        {"prompt_tokens": 3, "completion_tokens": 4},
        SimpleNamespace(prompt_tokens=3, completion_tokens=4),
    ],
)
def test_reads_usage_by_the_names_of_either_api(usage: Any) -> None:
    own = guard(max_tokens=1_000)
    own.after_llm(own.before_llm(input_tokens=5), usage)

    assert 7 == own.used.tokens


def test_unknown_usage_counts_as_reserved() -> None:
    own = guard(max_tokens=1_000)
    own.after_llm(own.before_llm(input_tokens=5, max_output_tokens=20), None)

    assert 25 == own.used.tokens


def test_failed_calls_give_back_what_was_reserved() -> None:
    own = guard(max_tokens=100)
    own.llm_failed(own.before_llm(input_tokens=100, max_output_tokens=0))

    own.before_llm(input_tokens=100, max_output_tokens=0)


def test_counts_equal_tool_calls_whatever_the_order_of_their_arguments() -> None:
    own = guard(same_tool_call=2)
    own.before_tool("search", {"a": 1, "b": object})
    own.before_tool("search", {"b": object, "a": 1})
    own.before_tool("search", {"a": 2})

    with pytest.raises(tocsin.LimitExceeded, match="3 identical tool calls"):
        own.before_tool("search", {"a": 1, "b": object})


def test_stops_when_time_is_up() -> None:
    clock = ManualClock()
    own = tocsin.Guard(tocsin.StopLimits(max_latency="10s"), clock=clock)
    clock.advance(11)

    with pytest.raises(tocsin.LimitExceeded, match=r"11.0 s, over the limit of 10.0 s"):
        own.check()


def test_names_the_model_to_call() -> None:
    own = guard(max_tokens=1_000, switch_at=0.5, switch={"m": "mini"})
    first = own.before_llm(model="m", input_tokens=100, max_output_tokens=400)
    own.after_llm(first, used(100, 400))

    assert ("m", "mini") == (first.model, own.before_llm(model="m", input_tokens=1).model)


def test_is_held_to_the_block_around_it() -> None:
    with tocsin.limit(tokens=100) as block:
        own = guard(max_tokens=1_000)
        own.after_llm(own.before_llm(input_tokens=50), used(50, 0))
        with pytest.raises(tocsin.LimitExceeded, match="limit of 100 tokens"):
            own.before_llm(input_tokens=51)
    assert 50 == block.tokens


def test_a_block_that_limits_nothing_is_refused() -> None:
    with pytest.raises(tocsin.ConfigError, match="limits nothing"):
        tocsin.limit()


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_failure_of_ours(is_closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    own = guard(max_tokens=1_000, on_failure="closed" if is_closed else "open")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Cover, "before_llm", broken)
    if is_closed:
        with pytest.raises(tocsin.LimitExceeded, match="Tocsin failed"):
            own.before_llm(model="m")
    else:
        call = own.before_llm(model="m")
        own.after_llm(call, used(1, 1))
        own.llm_failed(call)
        assert "m" == call.model


def test_threads_share_a_guard() -> None:
    own = guard(max_tokens=1_000)

    def spend() -> None:
        for _ in range(50):
            try:
                call = own.before_llm(model="m", input_tokens=10, max_output_tokens=0)
            except tocsin.LimitExceeded:
                return
            own.after_llm(call, used(10, 0))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (1_000, 0) == (own.used.tokens, own.used.held_tokens)


def test_error_survives_pickling() -> None:
    import pickle

    own = guard(max_tokens=1)
    with pytest.raises(tocsin.LimitExceeded) as caught:
        own.before_llm(input_tokens=5)

    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))


def test_is_an_exception_of_the_sdk_where_that_is_installed() -> None:
    from agents.exceptions import AgentsException

    assert issubclass(tocsin.LimitExceeded, AgentsException)
    assert issubclass(tocsin.LimitExceeded, tocsin.TocsinError)


def test_a_lock_that_was_held_at_a_fork_is_free_in_the_child() -> None:
    run_guard.LEDGER.lock.acquire()
    run_guard.LEDGER.reset_after_fork()

    assert run_guard.LEDGER.lock.acquire(blocking=False)
    run_guard.LEDGER.lock.release()


WITHOUT_SDK = """
import sys
sys.modules["agents"] = None  # as if it were not installed
import tocsin
guard = tocsin.Guard(tocsin.StopLimits(max_turns=1))
with tocsin.limit(cost="1 USD"):
    call = guard.before_llm(model="gpt-4o", input_tokens=10)
guard.after_llm(call, {"input_tokens": 10, "output_tokens": 5})
try:
    guard.before_llm(model="gpt-4o")
except tocsin.LimitExceeded as error:
    print(error)
"""


def test_works_without_the_sdk() -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK], capture_output=True, text=True, timeout=60, check=False
    )

    assert ("guard: stopped at 2 turns, over the limit of 1 turns\n", 0) == (
        done.stdout,
        done.returncode,
    )
