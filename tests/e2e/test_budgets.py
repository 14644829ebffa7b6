"""Budgets on the real SDK: what counts into them, what they tell, and what they stop."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    handoff,
    trace,
)
from openai import AsyncOpenAI

import tocsin
from tests.e2e.scenarios import lookup
from tests.e2e.setup import Setup, drain
from tests.fakes.counts import Page
from tests.fakes.process import SHARED_DIR, Start, free_port, scrape, wait_for
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import (
    FakeLLM,
    Reply,
    Request,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
    latencies,
    script,
)
from tocsin.meters.clients import SilentObserver
from tocsin.model.run import Run

Watch = Callable[..., Watcher]
Program = Callable[[Setup], Awaitable[object]]

PER_CALL = Decimal("0.00052")
"""USD of every answer of the fake model."""
DEAR = Usage(input=1_000, cached=0, output=2_000)
DEAR_USD = Decimal("0.0225")
SPENT = "agent_budget_spent_dollars"
CONFIG = RunConfig(workflow_name="job")


class Pager:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, *, severity: str, message: str) -> None:
        self.sent.append((severity, message))


def run(llm: FakeLLM, program: Program) -> Any:
    async def main() -> object:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
            return await program(Setup(client))

    return asyncio.run(main())


def page(watcher: Watcher) -> Page:
    assert watcher.flush(10)
    found = Page(watcher.families())
    assert 0 == found.total("tocsin_internal_errors_total")
    assert 0 == found.total("tocsin_stop_unchecked_calls_total", reason="error")
    assert 0 == found.total("tocsin_sink_errors_total", sink="budgets")
    return found


def spent(watcher: Watcher) -> dict[str, Decimal]:
    found = page(watcher).by(SPENT, "budget")
    return {name: round(Decimal(usd), 8) for name, usd in found.items() if name != "all"}


def agent_of(setup: Setup, name: str = "A", **options: Any) -> Agent[Any]:
    return Agent(name=name, model=setup.responses, **options)


def once(config: RunConfig = CONFIG, **options: Any) -> Program:
    async def program(setup: Setup) -> None:
        await Runner.run(agent_of(setup, **options), "hi", run_config=config)

    return program


def endless(usage: Usage = DEAR) -> Callable[[Request], Reply]:
    """A model that never stops calling a tool, each time with other arguments."""
    return lambda request: ToolCalls(
        (ToolCall("lookup", {"key": str(len(request.items))}),), usage=usage
    )


def looping(way: str = "run", config: RunConfig = CONFIG, **options: Any) -> Program:
    async def program(setup: Setup) -> None:
        agent = agent_of(setup, tools=[lookup], **options)
        if way == "run":
            await Runner.run(agent, "hi", run_config=config, max_turns=1_000)
        else:
            await drain(Runner.run_streamed(agent, "hi", run_config=config, max_turns=1_000))

    return program


# What counts into a budget.


def test_every_call_counts_into_the_budgets_that_cover_it(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets(
        [
            tocsin.Budget("everything", limit=50),
            tocsin.Budget("job", limit=50, workflow=["job", "other"]),
            tocsin.Budget("model", limit=50, model="gpt-4o"),
            tocsin.Budget("another model", limit=50, model="gpt-4.1"),
            tocsin.Budget("agent", limit=50, agent="A"),
            tocsin.Budget("another agent", limit=50, agent="B"),
            tocsin.Budget("another workflow", limit=50, workflow="elsewhere"),
        ]
    )

    run(llm, once())

    assert dict.fromkeys(("everything", "job", "model", "agent"), PER_CALL) == spent(watcher)


def test_agents_used_as_tools_count_into_the_outer_workflow_and_into_their_own_agent(
    watch: Watch, llm: FakeLLM
) -> None:
    watcher = watch()
    watcher.add_budgets(
        [
            tocsin.Budget("job", limit=50, workflow="job"),
            tocsin.Budget("inner", limit=50, agent="inner"),
            tocsin.Budget("outer", limit=50, agent="outer"),
            tocsin.Budget("acme", limit=50, tags={"customer": "acme"}),
        ]
    )
    llm.set("o", script([ToolCalls((ToolCall("ask", {"input": "go"}),)), Text("done")]))

    async def program(setup: Setup) -> None:
        inner = agent_of(setup, "inner").as_tool("ask", "Ask another agent.")
        # Priced like the inner one's, as the name that is asked for.
        outer = Agent(name="outer", model=OpenAIResponsesModel("o", setup.client), tools=[inner])
        config = RunConfig(workflow_name="job", trace_metadata={"customer": "acme"})
        await Runner.run(outer, "hi", run_config=config)

    watcher.prices.override({"o": {"input": 2.5, "output": 10, "cache_read": 1.25}})
    run(llm, program)

    assert {
        "job": 3 * PER_CALL,
        "inner": PER_CALL,
        "outer": 2 * PER_CALL,
        "acme": 3 * PER_CALL,
    } == spent(watcher)


def test_after_a_handoff_the_other_agent_spends(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget(name, limit=50, agent=name) for name in ("A", "B")])
    llm.set(None, script([ToolCalls((ToolCall("transfer_to_b"),)), Text("done")]))

    async def program(setup: Setup) -> None:
        first = agent_of(setup, "A", handoffs=[handoff(agent_of(setup, "B"))])
        await Runner.run(first, "hi", run_config=CONFIG)

    run(llm, program)

    assert {"A": PER_CALL, "B": PER_CALL} == spent(watcher)


METADATA = {"customer": "acme", "secret": "s3cret", "seat": 7}


@pytest.mark.parametrize("watches_runner", [True, False])
def test_tags_come_from_a_runs_own_metadata_or_its_traces(
    watch: Watch, llm: FakeLLM, watches_runner: bool
) -> None:
    watcher = watch(watch_runner=watches_runner)
    watcher.add_budgets(
        [
            tocsin.Budget("acme", limit=50, tags={"customer": "acme"}),
            tocsin.Budget("seat", limit=50, tags={"customer": "acme", "seat": 7}),
            tocsin.Budget("other", limit=50, tags={"customer": "other"}),
            tocsin.Budget("chat", limit=50, tags={"group_id": "chat-1"}),
        ]
    )

    async def program(setup: Setup) -> None:
        own = RunConfig(workflow_name="job", trace_metadata=METADATA, group_id="chat-1")
        await Runner.run(agent_of(setup), "hi", run_config=own)
        with trace("job", metadata=METADATA):
            await Runner.run(agent_of(setup), "hi", run_config=CONFIG)
        await Runner.run(agent_of(setup), "hi", run_config=CONFIG)

    run(llm, program)

    assert {"acme": 2 * PER_CALL, "seat": 2 * PER_CALL, "chat": PER_CALL} == spent(watcher)


class Heard(SilentObserver):
    def __init__(self) -> None:
        self.tags: list[object] = []

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        self.tags.append(run.tags)


def test_only_tags_that_a_budget_names_are_kept(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("acme", limit=50, tags={"customer": "acme"})])
    heard = Heard()
    watcher.add_observer(heard)

    run(llm, once(RunConfig(workflow_name="job", trace_metadata=METADATA)))

    watcher.flush()
    assert [{"customer": "acme"}] == heard.tags


def test_a_runs_own_tags_win_inside_a_trace(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    customers = [tocsin.Budget(n, limit=50, tags={"customer": n}) for n in ("acme", "zorg")]
    watcher.add_budgets(customers)

    async def program(setup: Setup) -> None:
        with trace("batch", metadata={"customer": "acme"}):
            config = RunConfig(workflow_name="job", trace_metadata={"customer": "zorg"})
            await Runner.run(agent_of(setup), "hi", run_config=config)

    run(llm, program)

    assert {"zorg": PER_CALL} == spent(watcher)


# Unknown is never zero.


def test_what_only_calls_without_a_price_cost_is_not_shown(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit=50)])
    assert ("team",) in labels(watcher, SPENT)

    async def program(setup: Setup) -> None:
        unknown = Agent(name="A", model=OpenAIResponsesModel("my-finetune", setup.client))
        await Runner.run(unknown, "hi", run_config=CONFIG)

    run(llm, program)

    assert set() == labels(watcher, SPENT)
    assert 1 == page(watcher).total("agent_budget_unpriced_calls_total", budget="team")
    run(llm, once())
    assert {("team",), ("all",)} == labels(watcher, SPENT)


def labels(watcher: Watcher, name: str) -> set[tuple[str, ...]]:
    watcher.flush()
    return {key for f in watcher.families() if f.metric.name == name for key in f.values}


def test_a_budget_for_models_without_a_price_says_so_at_once(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watch()
    watcher.add_budgets(
        [
            tocsin.Budget("blind", limit=50, model=["my-finetune", "another"]),
            tocsin.Budget("half", limit=50, model=["my-finetune", "gpt-4o"]),
            tocsin.Budget("fine", limit=50, model="gpt-4o"),
        ]
    )

    assert "budget blind: no price is known of my-finetune, another" in caplog.text
    assert "budget half: no price is known of my-finetune:" in caplog.text
    assert {"blind": 1.0} == page(watcher).by("tocsin_budget_without_price", "budget")


# Stops.


@pytest.mark.parametrize("way", ["run", "run_streamed"])
def test_a_budget_stops_runs_before_the_call_that_would_pass_it(
    way: str, watch: Watch, llm: FakeLLM
) -> None:
    watcher, pager = watch(), Pager()
    watcher.add_budgets([tocsin.Budget("team", limit="0.10 USD", stop_at=1)], pager)
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded) as caught:
        run(llm, looping(way))
    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping(way))

    assert ("budget:team", 0.1, "job") == (
        caught.value.limit,
        caught.value.limit_value,
        caught.value.workflow,
    )
    assert "over the $0.1000 of budget team (run span_" in str(caught.value)
    found = page(watcher)
    assert {"stopped": 2} == found.by("agent_workflow_runs_total", "outcome")
    assert 2 == found.total("agent_sla_breaches_total", limit="budget:team", action="stop")
    # What a run's first call will write can only be guessed, and a guess stops nothing.
    assert Decimal("0.05") < spent(watcher)["team"] <= Decimal("0.10") + DEAR_USD
    watcher.close()
    stops = [message for _, message in pager.sent if "calls are stopped" in message]
    assert 1 == len(stops)  # of two runs


def test_a_budget_with_a_stop_needs_a_watched_runner(watch: Watch) -> None:
    with pytest.raises(tocsin.ConfigError, match="watch_runner"):
        watch(watch_runner=False).add_budgets([tocsin.Budget("team", limit=1, stop_at=1)])


def test_runs_that_a_budget_does_not_cover_go_on(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets(
        [
            tocsin.Budget("acme", limit="0.001 USD", stop_at=1, tags={"customer": "acme"}),
            tocsin.Budget("mini", limit="0.001 USD", stop_at=1, model="gpt-4o-mini"),
        ]
    )
    acme = RunConfig(workflow_name="job", trace_metadata={"customer": "acme"})
    llm.set(None, script([*[ToolCalls((ToolCall("lookup", {"key": "a"}),))] * 5, Text("done")]))

    run(llm, looping())
    with pytest.raises(tocsin.LimitExceeded, match="budget acme"):
        run(llm, looping(config=acme))

    assert {"ok": 1, "stopped": 1} == page(watcher).by("agent_workflow_runs_total", "outcome")


def test_calls_of_agents_used_as_tools_are_stopped_by_the_outer_workflows_budget(
    watch: Watch, llm: FakeLLM
) -> None:
    watch().add_budgets([tocsin.Budget("job", limit="0.10 USD", stop_at=1, workflow="job")])
    llm.set("o", lambda request: ToolCalls((ToolCall("ask", {"input": "go"}),)))
    llm.set(None, endless())

    async def program(setup: Setup) -> None:
        inner = agent_of(setup, "inner", tools=[lookup]).as_tool("ask", "Ask another agent.")
        outer = Agent(name="outer", model=OpenAIResponsesModel("o", setup.client), tools=[inner])
        await Runner.run(outer, "hi", run_config=CONFIG)

    with pytest.raises(tocsin.LimitExceeded, match="budget job"):
        run(llm, program)
    assert sum(request.model == "o" for request in llm.requests) == 1


@pytest.mark.parametrize("way", ["as tool", "in a block"])
def test_a_workflow_inside_another_is_not_one_of_its_own(
    way: str, watch: Watch, llm: FakeLLM
) -> None:
    watcher = watch()
    inner = tocsin.Budget("inner", limit="0.000001 USD", stop_at=1, workflow="inner")
    watcher.add_budgets([inner])
    llm.set("o", script([ToolCalls((ToolCall("ask", {"input": "go"}),)), Text("done")]))

    async def program(setup: Setup) -> None:
        @function_tool(name_override="ask", failure_error_function=None)
        async def ask(input: str) -> str:  # noqa: A002 - what as_tool calls it
            around = tocsin.limit(cost="1 USD") if way == "in a block" else contextlib.nullcontext()
            async with around:
                config = RunConfig(workflow_name="inner")
                result = await Runner.run(agent_of(setup), input, run_config=config)
            return str(result.final_output)

        outer = Agent(name="outer", model=OpenAIResponsesModel("o", setup.client), tools=[ask])
        await Runner.run(outer, "hi", run_config=CONFIG)

    run(llm, program)
    assert {} == spent(watcher)
    with pytest.raises(tocsin.LimitExceeded, match="budget inner"):
        run(llm, once(RunConfig(workflow_name="inner")))


def test_limits_of_runs_and_blocks_hold_beside_a_budget(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit="5 USD", stop_at=1)])
    watcher.add_stops({"job": tocsin.StopLimits(max_turns=3)})
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded) as caught:
        run(llm, looping())
    assert "turns" == caught.value.limit

    async def inside(setup: Setup) -> None:
        with tocsin.limit(cost="0.05 USD"):
            await looping(config=RunConfig(workflow_name="other"))(setup)

    with pytest.raises(tocsin.LimitExceeded) as caught:
        run(llm, inside)
    assert "cost" == caught.value.limit


def test_runs_that_nobody_traces_count_too(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit="0.10 USD", stop_at=1)])
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping(config=RunConfig(workflow_name="job", tracing_disabled=True)))

    assert Decimal("0.05") < spent(watcher)["team"] <= Decimal("0.10")


def test_calls_of_runs_that_were_not_held_count_before_the_next_is_made(
    watch: Watch, llm: FakeLLM
) -> None:
    watcher = watch()
    llm.set(None, lambda request: Text("done", usage=DEAR))
    budget = tocsin.Budget("team", limit=DEAR_USD, stop_at=1)
    # As by a runner of the program's own that calls no hooks.
    with trace("job"):
        watcher.add_budgets([budget])
        watcher.budgets._accounts, held = {}, watcher.budgets._accounts
        run(llm, once())
        watcher.budgets._accounts = held
    watcher.flush()

    with pytest.raises(tocsin.LimitExceeded, match="budget team"):
        run(llm, looping())


def test_guards_spend_from_budgets(watch: Watch) -> None:
    watcher = watch()
    watcher.add_budgets(
        [
            tocsin.Budget("report", limit="0.03 USD", stop_at=1, workflow="report"),
            tocsin.Budget("acme", limit=50, tags={"customer": "acme"}, agent="writer"),
        ]
    )

    def guard() -> tocsin.Guard:
        return tocsin.Guard(
            tocsin.StopLimits(), workflow="report", agent="writer", tags={"customer": "acme"}
        )

    first = guard()
    call = first.before_llm(model="gpt-4o", input_tokens=1_000, max_output_tokens=2_000)
    first.after_llm(call, {"input_tokens": 1_000, "output_tokens": 2_000})

    with pytest.raises(tocsin.LimitExceeded, match=r"report: stopped at .* of budget report"):
        guard().before_llm(model="gpt-4o", input_tokens=1_000, max_output_tokens=2_000)
    assert {"report": DEAR_USD, "acme": DEAR_USD} == spent(watcher)


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [True, False], ids=["max_tokens", "guessed"])
def test_a_hundred_runs_at_once_do_not_pass_a_budget_by_more_than_a_call(
    bounded: bool, watch: Watch, llm: FakeLLM
) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit="1.00 USD", stop_at=1)])
    llm.set(None, latencies(endless(), median_s=0.02))
    settings = ModelSettings(max_tokens=2_000) if bounded else ModelSettings()

    async def program(setup: Setup) -> list[Any]:
        agent = agent_of(setup, tools=[lookup], model_settings=settings)
        runs = (Runner.run(agent, "hi", run_config=CONFIG, max_turns=1_000) for _ in range(100))
        return await asyncio.gather(*runs, return_exceptions=True)

    errors = run(llm, program)

    assert {tocsin.LimitExceeded} == set(map(type, errors))
    assert 1 - 2 * DEAR_USD < spent(watcher)["team"] <= 1 + DEAR_USD
    assert {"stopped": 100} == page(watcher).by("agent_workflow_runs_total", "outcome")


# What is told.


def test_tells_of_shares_once_per_period_also_after_a_restart(
    watch: Watch, llm: FakeLLM, tmp_path: Path
) -> None:
    file, sent = tmp_path / "budgets.sqlite", []
    llm.set(None, lambda request: Text("done", usage=DEAR))
    for _ in range(3):
        watcher, pager = watch(), Pager()
        watcher.add_budgets([tocsin.Budget("team", limit="0.0675 USD")], pager, file=file)
        run(llm, once())
        watcher.close()
        sent.append([severity for severity, _ in pager.sent])

    # 33 %, 67 %, 100 %
    assert [[], ["warning"], ["warning", "critical"]] == sent
    assert 3 * DEAR_USD == spent_in(file)


def test_events_are_counted_from_0(watch: Watch, llm: FakeLLM) -> None:
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit="0.03 USD", alert_at=("50%",), stop_at=1)])
    events = {("team", key) for key in ("alert:0.5", "forecast", "stop")}
    assert events == labels(watcher, "agent_budget_events_total")
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping())

    found = page(watcher).by("agent_budget_events_total", "event")
    assert {"alert:0.5": 1, "stop": 1} == found


def test_one_service_hears_of_everything_once(watch: Watch, llm: FakeLLM) -> None:
    watcher, pager = watch(), Pager()
    watcher.add_stops({"job": tocsin.StopLimits(max_turns=1)}, pager)
    watcher.add_budgets([tocsin.Budget("team", limit="0.03 USD", alert_at=("50%",))], pager)
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping())
    watcher.close()

    assert ["critical", "warning"] == sorted(severity for severity, _ in pager.sent)


# Spend survives.


def spent_in(file: Path) -> Decimal:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (units,) = connection.execute("SELECT coalesce(sum(units), 0) FROM spend").fetchone()
    return Decimal(units) / 10**10


def test_what_was_spent_before_is_not_left(watch: Watch, llm: FakeLLM, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "budgets.sqlite"
    budget = tocsin.Budget("team", limit="0.05 USD", stop_at=1)
    settings = ModelSettings(max_tokens=2_000)
    llm.set(None, endless())
    first = watch()
    first.add_budgets([budget], file=file)
    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping(model_settings=settings))
    first.close()
    calls = len(llm.requests)

    second = watch()
    second.add_budgets([budget], file=file)
    assert spent(first) == spent(second) == {"team": spent_in(file)}
    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping(model_settings=settings))

    assert 0 < calls == len(llm.requests)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_killed_process_loses_at_most_a_second_of_spend(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "budgets.sqlite"
    program = start("spend_steadily", str(file))
    assert ["spending"] == program.said()
    assert wait_for(lambda: len(program.said()) >= 40, 20)
    program.process.kill()
    program.exit_code()

    said = program.said()  # spent so far, with the time, after each call
    until_s = said[-1][1] - 1.3  # a second, and what waits in the queue on a busy machine
    before = max(usd for usd, at_s in said[1:] if at_s <= until_s)
    assert 0 < before <= float(spent_in(file)) <= said[-1][0] + 0.002


@pytest.mark.e2e
@pytest.mark.slow
def test_processes_beside_each_other_see_what_the_others_spend(
    start: Start, watch: Watch, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.sqlite"
    watcher = watch()
    budget = tocsin.Budget("team", limit="0.1 USD", stop_at=1)
    watcher.add_budgets([budget], file=file)
    for _ in range(2):
        start("spend_steadily", str(file))

    assert wait_for(lambda: spent(watcher).get("team", 0) > Decimal("0.1"), 60)

    with pytest.raises(tocsin.LimitExceeded, match="budget team"):
        tocsin.Guard(tocsin.StopLimits()).before_llm(model="gpt-4o", input_tokens=10)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_fork_counts_everything_once(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "budgets.sqlite"
    program = start("spend_in_a_fork", str(file))

    assert 0 == program.exit_code(), program.errors
    assert Decimal("0.018") == spent_in(file), program.errors
    assert [] == program.warnings


@pytest.mark.e2e
@pytest.mark.slow
def test_processes_that_share_a_page_show_the_sum_once(start: Start, tmp_path: Path) -> None:
    file, shared, port = tmp_path / "budgets.sqlite", tmp_path / "shared", free_port()
    shared.mkdir()
    env = {SHARED_DIR: str(shared)}
    programs = [start("spend_and_serve", str(file), str(port), **env) for _ in range(3)]
    for program in programs:
        assert program.said()

    def shown(usd: str) -> bool:
        return wait_for(lambda: scrape(port, SPENT, budget="team") == pytest.approx(float(usd)), 15)

    assert shown("0.03"), scrape(port, SPENT, budget="team")
    assert 50 == scrape(port, "agent_budget_limit_dollars")
    for program in programs[:2]:
        program.stop()
        assert shown("0.03"), scrape(port, SPENT, budget="team")


def test_a_damaged_file_is_named_counted_and_left_alone(
    watch: Watch, llm: FakeLLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "budgets.sqlite"
    file.write_bytes(b"this is not a database, " * 100)
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit="0.05 USD", stop_at=1)], file=file)
    llm.set(None, endless())

    with pytest.raises(tocsin.LimitExceeded):
        run(llm, looping())

    assert f"{file} is damaged; move it away" in caplog.text
    assert 1 == caplog.text.count("is damaged")
    assert page(watcher).total("tocsin_budget_file_errors_total", reason="damaged") >= 1
    kept = spent(watcher)["team"]
    file.unlink()
    watcher.flush()
    assert 0 < kept == spent_in(file)  # what was spent meanwhile is written now


def test_a_locked_file_is_written_later(
    watch: Watch, llm: FakeLLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "budgets.sqlite"
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit=50)], file=file)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        run(llm, once())
        assert {"team": PER_CALL} == spent(watcher)
        other.execute("ROLLBACK")

    assert "is locked by another program" in caplog.text
    assert page(watcher).total("tocsin_budget_file_errors_total", reason="locked") >= 1
    assert PER_CALL == spent_in(file)


def test_a_budget_that_is_closed_stops_calls_where_its_file_cannot_be_read(
    watch: Watch, llm: FakeLLM, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.sqlite"
    file.write_bytes(b"this is not a database, " * 100)
    watcher = watch()
    budget = tocsin.Budget("team", limit=50, stop_at=1, on_failure="closed")
    watcher.add_budgets([budget], file=file)

    with pytest.raises(tocsin.LimitExceeded) as caught:
        run(llm, once())
    assert "failure" == caught.value.limit
    assert () == llm.requests

    file.unlink()
    watcher.flush()
    run(llm, once())


def test_threads_that_run_agents_never_touch_the_file(
    watch: Watch, llm: FakeLLM, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.sqlite"
    watcher = watch()
    watcher.add_budgets([tocsin.Budget("team", limit=50, stop_at=1)], file=file)
    threads: set[int] = set()

    assert watcher.budgets._storage._file is not None
    opened = watcher.budgets._storage._file._opened

    def noting() -> Any:
        threads.add(threading.get_ident())
        return opened()

    watcher.budgets._storage._file._opened = noting  # type: ignore[method-assign]
    run(llm, once())
    assert wait_for(lambda: threads, 5)

    assert threading.get_ident() not in threads
