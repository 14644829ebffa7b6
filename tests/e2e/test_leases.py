"""Several processes share budgets through a real server: together they keep to the limit."""

import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.process import Program, Start, starting, wait_for
from tests.fakes.serving import serve
from tocsin.lab.fake_llm import FakeLLM, Reply, Request, ToolCall, ToolCalls, Usage

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(300)]

ROUNDS: Final = 20
PROCESSES: Final = 4
RUNS: Final = 25
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
        return program.said(self._said[program])[-1]

    def outcomes(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for program in self.programs:
            answer = self.answer(program)
            assert 0 == answer["errors"] == answer["unchecked"]["error"], program.errors
            found.update(answer["outcomes"])
        return found


def config(directory: Path, names: list[str]) -> Path:
    path = directory / "tocsin.yaml"
    budgets = [
        f"  - {{name: {name}, limit: {LIMIT} USD, per: month, agent: {name},"
        " stop_at: 100%, on_failure: closed}"
        for name in names
    ]
    path.write_text("\n".join(["budgets:", *budgets]))
    return path


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
    _, places = serve(start, tmp_path / "data", "--config", str(config(tmp_path, names)))
    workers = Workers(start, f"http://{places['HTTP']}", llm.base_url)
    for name in names:
        began_s = time.monotonic()
        workers.begin(name)
        outcomes = workers.outcomes()
        print(
            name, bill.usd[name], bill.calls[name], outcomes, round(time.monotonic() - began_s, 2)
        )
        assert {f"budget:{name}": PROCESSES * RUNS} == outcomes
        assert Decimal("0.8") < bill.usd[name] <= LIMIT + PROCESSES * bill.dearest
