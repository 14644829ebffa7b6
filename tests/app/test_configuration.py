"""The server's file in the watched program: read for what holds there too, and only if asked."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import set_trace_processors
from agents.tracing import get_trace_provider

import tocsin
from tests.fakes.spans import call
from tocsin.app.configuration import read_limits
from tocsin.app.install import default_watcher
from tocsin.model.span import Usage

FILE = """\
listen: 0.0.0.0:9001
workflows:
  support: {sla: {tokens: 100}, stop: {tokens: 200}}
  "*": {sla: {latency: 60s}}
budgets: [{name: all, limit: 5 USD}, {name: team, limit: 7 USD}]
prices: {my-model: {input: 1, output: 2}, other: {input: 1, output: 1}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "tocsin.yaml"
    found.write_text(FILE)
    return found


@pytest.fixture
def clean_slate() -> Iterator[None]:
    """No watcher before or after, and the SDK's processors as they were."""
    before = list(get_trace_provider()._multi_processor._processors)  # type: ignore[attr-defined]
    set_trace_processors([])
    default_watcher().close()
    yield
    default_watcher().close()
    set_trace_processors(before)


@pytest.mark.usefixtures("clean_slate")
def test_what_is_given_in_code_goes_before_the_file(file: Path) -> None:
    watcher = tocsin.install(
        None,
        config=file,
        slas={"support": tocsin.WorkflowSLA(max_tokens_per_request=150)},
        prices={"my-model": {"input": 3, "output": 4}},
    )
    slas = watcher.pipeline.slas
    assert tocsin.WorkflowSLA(max_tokens_per_request=150) == slas.sla_of("support")
    assert tocsin.WorkflowSLA(max_latency_seconds=60.0) == slas.sla_of("any other")
    assert {"support": tocsin.StopLimits(max_tokens=200)} == watcher.stops._stops
    budgets = read_limits(file).with_budgets([tocsin.Budget("all", limit="1 USD")]).budgets
    assert [("team", 7), ("all", 1)] == [(budget.name, budget.limit) for budget in budgets]
    million = Usage(1_000_000, 0)
    costs = [watcher.prices.cost(call(model, million)) for model in ("my-model", "other")]
    assert [3, 1] == [cost and cost.total for cost in costs]


@pytest.mark.usefixtures("clean_slate")
def test_all_that_is_wrong_with_the_file_is_told_and_nothing_installed(file: Path) -> None:
    file.write_text("workflows: {w: {sla: {tokens: 0}, stop: {turns: -1}}}\nlisten: x\n")
    with pytest.raises(tocsin.ConfigError) as caught:
        tocsin.install(None, config=str(file))
    places = [line.removeprefix(f"{file}:")[:5] for line in str(caught.value).splitlines()]
    assert ["1:23:", "1:42:", "2:1: "] == places
    assert tocsin.install(None) is default_watcher()


def test_a_file_without_limits(file: Path) -> None:
    file.write_text("")
    assert ({}, {}) == (read_limits(file).slas, read_limits(file).stops)


@pytest.mark.parametrize("package", ["yaml", "pydantic"])
def test_missing_packages_are_named(file: Path, package: str) -> None:
    code = f"""
import sys
from tocsin.app.configuration import read_limits
from tocsin.errors import ConfigError
sys.modules[{package!r}] = None
try:
    read_limits({str(file)!r})
except ConfigError as error:
    print(error)
"""
    expected = (
        f"config: reading {file} needs more packages ({package} is missing):"
        ' pip install "tocsin[server]"\n'
    )
    assert expected == run(code)


def test_nothing_of_the_server_is_loaded_unless_a_file_is_named(file: Path) -> None:
    code = """
import sys, tocsin
tocsin.install(None, {arguments})
names = ("yaml", "tocsin.config.load", "tocsin.store.journal", "duckdb", "numpy", "grpc")
print([name for name in names if name in sys.modules])
"""
    assert "[]\n" == run(code.format(arguments=""))
    named = code.format(arguments=f"config={str(file)!r}")
    assert "['yaml', 'tocsin.config.load']\n" == run(named)


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
