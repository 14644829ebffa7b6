"""Several processes share budgets through a real server: together they keep to the limit."""

import functools
import json
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.fakes.process import Program, Start, fetch, free_port, wait_for
from tests.fakes.run_senders import CALLS, RunSenders, check_store
from tests.fakes.running_server import RunningServer
from tests.fakes.server_process import ServerProcess
from tocsin.config.load import load_settings
from tocsin.guard.leases import Terms
from tocsin.guard.periods import Calendar
from tocsin.guard.wire import BudgetDocument, BudgetsDocument
from tocsin.lab.fake_llm import (
    Behaviour,
    FakeLLM,
    Latency,
    Reply,
    Request,
    ToolCall,
    ToolCalls,
    Usage,
)
from tocsin.model.address import Address
from tocsin.serve.wiring import embedded_wiring
from tocsin.store.charges import Spending
from tocsin.store.embedded.store import EmbeddedStore

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(300)]

ROUNDS: Final = 20
PROCESSES: Final = 4
RUNS: Final = 25
ANSWER_S: Final = 90.0
"""Four processes that import the SDK at once take their time on a busy machine."""
LIMIT: Final = Decimal(1)
INPUT, OUTPUT = Decimal("2.5e-6"), Decimal("1e-5")
"""What gpt-4o costs a token."""


class Bill:
    """A model that never stops calling a tool, and what it asks to be paid, by instructions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.usd: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.calls: Counter[str] = Counter()
        self.dearest = Decimal(0)

    def __call__(self, request: Request) -> Reply:
        usage = Usage(
            input=request.rng.randint(100, 2000), cached=0, output=request.rng.randint(50, 800)
        )
        usd = usage.input * INPUT + usage.output * OUTPUT
        with self._lock:
            self.usd[request.instructions] += usd
            self.calls[request.instructions] += 1
            self.dearest = max(self.dearest, usd)
        call = ToolCall("lookup", {"key": str(len(request.items))})
        return ToolCalls((call,), usage=usage)


class Workers:
    """Processes that run agents when told to."""

    def __init__(self, start: Start, server: str, llm: str, count: int = PROCESSES) -> None:
        command = [sys.executable, "-m", "tests.fakes.budget_worker", server, llm]
        self.programs: list[Program] = [start(command=command) for _ in range(count)]
        self._said = dict.fromkeys(self.programs, 0)
        for program in self.programs:
            self.answer(program)

    def begin(self, name: str, *, runs: int = RUNS, turns: int = 50) -> None:
        for program in self.programs:
            self.tell(program, name, runs=runs, turns=turns)

    def tell(self, program: Program, name: str, *, runs: int = RUNS, turns: int = 50) -> None:
        assert program.process.stdin is not None
        task = {"name": name, "runs": runs, "turns": turns}
        program.process.stdin.write(f"{json.dumps(task)}\n".encode())
        program.process.stdin.flush()

    def answer(self, program: Program) -> Any:
        self._said[program] += 1
        return program.said(self._said[program], ANSWER_S)[-1]

    def outcomes(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for program in self.programs:
            answer = self.answer(program)
            assert 0 == answer["errors"] == answer["unchecked"]["error"], program.errors
            found.update(answer["outcomes"])
        return found


def config(directory: Path, names: Sequence[str], on_failure: str = "closed") -> Path:
    path = directory / "tocsin.yaml"
    budgets = [
        f"  - {{name: {name}, limit: {LIMIT} USD, per: month, agent: {name},"
        f" stop_at: 100%, on_failure: {on_failure}}}"
        for name in names
    ]
    path.write_text("\n".join(["budgets:", *budgets]))
    return path


def budget(port: int, name: str) -> BudgetDocument:
    found = msgspec.json.decode(fetch(port, "/api/v1/budgets"), type=BudgetsDocument)
    return next(document for document in found.budgets if document.name == name)


@pytest.fixture
def bill() -> Bill:
    return Bill()


@pytest.fixture
def llm(bill: Bill) -> Iterator[FakeLLM]:
    with FakeLLM(bill, recorded=1) as server:
        yield server


def test_a_hundred_runs_in_four_processes_keep_to_one_dollar(
    start: Start, tmp_path: Path, llm: FakeLLM, bill: Bill
) -> None:
    names = [f"round-{number}" for number in range(ROUNDS)]
    server = ServerProcess(start, tmp_path / "data", config=config(tmp_path, names))
    workers = Workers(start, f"http://{server.addresses['HTTP']}", llm.base_url)
    for name in names:
        workers.begin(name)
        assert {f"budget:{name}": PROCESSES * RUNS} == workers.outcomes()
        assert Decimal("0.8") < bill.usd[name] <= LIMIT + PROCESSES * bill.dearest


def test_a_server_that_is_killed_in_the_middle_forgets_nothing(
    start: Start, tmp_path: Path, llm: FakeLLM, bill: Bill
) -> None:
    ports = [free_port() for _ in range(3)]
    options: Any = {"ports": ports, "config": config(tmp_path, ["killed"])}
    server = ServerProcess(start, tmp_path / "data", **options)
    workers = Workers(start, f"http://127.0.0.1:{ports[0]}", llm.base_url)
    workers.begin("killed")
    assert wait_for(lambda: bill.usd["killed"] > Decimal("0.3"), 60)
    server.kill()
    ServerProcess(start, tmp_path / "data", **options)
    outcomes = workers.outcomes()
    workers.begin("killed")

    assert {"budget:killed": 2 * PROCESSES * RUNS} == outcomes + workers.outcomes()
    assert Decimal("0.8") < bill.usd["killed"] <= LIMIT + PROCESSES * bill.dearest
    assert wait_for(lambda: bill.usd["killed"] == usd(budget(ports[0], "killed").spent_usd), 30)


class Leasing:
    """A server in this process whose leases end soon, and which can be away for a while."""

    def __init__(self, directory: Path, on_failure: str) -> None:
        self.port = free_port()
        self._data = directory / "data"
        settings = load_settings(config(directory, ["cut"], on_failure))
        self._options = {"settings": settings, "listen": Address("127.0.0.1", self.port)}
        self._wire = functools.partial(embedded_wiring, terms=Terms(expiry_s=3, grace_s=0.5))
        self.come_back()

    def come_back(self) -> None:
        self._server = RunningServer(self._data, self._wire, **self._options)
        self._server.__enter__()

    def go_away(self) -> None:
        assert self._server.stop()

    @property
    def state(self) -> BudgetDocument:
        return budget(self.port, "cut")


@pytest.fixture
def leasing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Leasing]:
    leasing = Leasing(tmp_path, getattr(request, "param", "closed"))
    yield leasing
    leasing.go_away()


def usd(text: str | None) -> Decimal:
    return Decimal(text or "NaN")


def slow(bill: Bill) -> Behaviour:
    """Take a second for every answer."""

    def reply(request: Request) -> Reply:
        found = bill(request)
        assert isinstance(found, ToolCalls)
        return replace(found, latency=Latency(total_s=1.0))

    return reply


def test_the_lease_of_a_worker_that_is_killed_comes_back(
    start: Start, leasing: Leasing, llm: FakeLLM, bill: Bill
) -> None:
    llm.set(None, slow(bill))
    first, second = (
        Workers(start, f"http://127.0.0.1:{leasing.port}", llm.base_url, 1) for _ in range(2)
    )
    first.begin("cut", runs=5)
    assert wait_for(lambda: usd(leasing.state.spent_usd) > 0, 30)
    first.programs[0].process.kill()
    held = leasing.state
    assert usd(held.leased_usd) > 0
    assert wait_for(lambda: usd(leasing.state.leased_usd) == 0, 10)

    llm.set(None, bill)
    second.begin("cut")
    second.outcomes()
    # What the first one had used and could not report any more is within what it held.
    assert Decimal("0.8") < bill.usd["cut"] <= LIMIT + usd(held.leased_usd) + 6 * bill.dearest
    assert usd(leasing.state.spent_usd) <= LIMIT + bill.dearest


def test_a_worker_that_is_cut_off_keeps_to_its_lease(
    start: Start, leasing: Leasing, llm: FakeLLM, bill: Bill
) -> None:
    llm.set(None, slow(bill))
    workers = Workers(start, f"http://127.0.0.1:{leasing.port}", llm.base_url, 1)
    workers.begin("cut", runs=5)
    assert wait_for(lambda: usd(leasing.state.spent_usd) > 0, 30)
    granted = usd(leasing.state.spent_usd) + usd(leasing.state.leased_usd)
    leasing.go_away()

    assert {"budget:cut": 5} == workers.outcomes()
    assert bill.usd["cut"] <= granted + bill.dearest < LIMIT
    leasing.come_back()
    assert wait_for(lambda: bill.usd["cut"] == usd(leasing.state.spent_usd), 30)


@pytest.mark.parametrize("leasing", ["open"], indirect=True)
def test_a_budget_that_fails_open_lets_calls_through_and_hears_of_them_later(
    start: Start, leasing: Leasing, llm: FakeLLM, bill: Bill
) -> None:
    workers = Workers(start, f"http://127.0.0.1:{leasing.port}", llm.base_url, 1)
    leasing.go_away()
    workers.begin("cut", runs=5, turns=30)

    assert {"MaxTurnsExceeded": 5} == workers.outcomes()
    assert bill.usd["cut"] > Decimal("0.5")
    leasing.come_back()
    assert wait_for(lambda: bill.usd["cut"] == usd(leasing.state.spent_usd), 30)


KILLS: Final = 8
CALL_USD: Final = 100 * INPUT + 10 * OUTPUT


def test_what_spans_cost_is_counted_once_whenever_the_server_is_killed(
    start: Start, tmp_path: Path
) -> None:
    dice = random.Random(3)
    data, ports = tmp_path / "data", [free_port() for _ in range(3)]
    path = tmp_path / "tocsin.yaml"
    path.write_text("budgets: [{name: all, limit: 1000 USD, per: month}]")
    senders = RunSenders(http_port=ports[1], grpc_port=ports[2])
    for _ in range(KILLS):
        server = ServerProcess(start, data, ports=ports, config=path)
        senders.finish_all()
        senders.begin()
        time.sleep(dice.uniform(0.0, 1.2))
        server.kill()
    server = ServerProcess(start, data, ports=ports, config=path)
    senders.stop()
    assert wait_for(lambda: "tocsin_journal_bytes 0.0" in server.metrics(), 60), server.metrics()
    expected = senders.number() * CALLS * CALL_USD
    assert wait_for(lambda: expected == usd(budget(ports[0], "all").spent_usd), 5)
    assert 0 == server.stop()

    assert len(senders.acknowledged) > 50
    check_store(data, senders)
    store = EmbeddedStore(data / "store", read_only=True)
    month = Calendar("month", UTC).period(senders.started_ns)
    _, spending = store.spending("all", month.start_ns)
    slots = store.timeline(0)["all"]
    store.close()
    calls = len(senders.acknowledged) * CALLS
    assert [Spending("", expected, calls, 0)] == spending
    assert expected == sum(slots.values())
