"""What a scraper gets: valid in both text formats, for every metric, at any moment."""

import asyncio
import http.client
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    ModelSettings,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    input_guardrail,
    trace,
)
from agents.tracing import agent_span, task_span
from openai import AsyncOpenAI
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tocsin.app.install import expose
from tocsin.app.watcher import Watcher
from tocsin.guard.budgets import Budget
from tocsin.guard.limits import StopLimits
from tocsin.lab.fake_llm import Failure, FakeLLM, Text, ToolCall, ToolCalls, script
from tocsin.meters import catalogue as m
from tocsin.meters.catalogue import CATALOGUE
from tocsin.quality.settings import Quality, ToolData
from tocsin.runs.limits import WorkflowSLA
from tocsin.sources.agents_sdk.events import SPAN_START

pytestmark = pytest.mark.e2e


TEXT = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PARSERS: dict[str, Callable[[str], Iterable[Metric]]] = {TEXT: parse_text, OPENMETRICS: parse_open}
HOSTILE = 'quote " backslash \\ newline \n bell \a emoji 🔔 brace } comma ,'


@function_tool
def lookup(key: str) -> str:
    return f"value of {key} at 2026-06-01T12:00:00Z"


@input_guardrail(name="abuse")
async def harmless(*_: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)


async def run_support(client: AsyncOpenAI, workflow: str) -> None:
    """Use everything at once: guardrail, tool, handoff, stream and conversation."""
    billing = Agent(name="billing", model=OpenAIResponsesModel("gpt-4o", client))
    triage = Agent(
        name="triage",
        model=OpenAIResponsesModel("gpt-4o", client),
        tools=[lookup],
        handoffs=[billing],
        input_guardrails=[harmless],
        model_settings=ModelSettings(include_usage=True),
    )
    config = RunConfig(workflow_name=workflow, group_id="chat-1")
    result = Runner.run_streamed(triage, "hi", run_config=config)
    async for _ in result.stream_events():
        pass


async def run_everything(llm: FakeLLM, workflow: str) -> None:
    llm.set(
        "gpt-4o",
        script(
            [
                ToolCalls((ToolCall("lookup", {"key": "a"}),)),
                ToolCalls((ToolCall("transfer_to_billing"),)),
                Text("done"),
            ]
        ),
    )
    llm.set("failing", lambda _: Failure(500))
    async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
        await run_support(client, workflow)
        agent = Agent(name="A", model=OpenAIResponsesModel("failing", client))
        with pytest.raises(Exception, match="500"):
            await Runner.run(agent, "hi")


def leave_traces_of_trouble(watcher: Watcher) -> None:
    """Make the metrics appear that only trouble brings: bad spans, too many names."""
    watcher.emit((SPAN_START, object(), 0, None))
    for number in range(300):
        with trace(f"workflow {number}"), agent_span("A"):
            pass


def get(watcher: Watcher, accept: str) -> tuple[str, str]:
    """Return a scrape's content type and text."""
    assert watcher.server is not None
    connection = http.client.HTTPConnection("127.0.0.1", watcher.server.port or 0, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        response = connection.getresponse()
        return response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def serve(watcher: Watcher) -> Watcher:
    registry = expose(watcher, CollectorRegistry())
    watcher.serve_metrics(registry, host="127.0.0.1", port=0)
    return watcher


@pytest.fixture
def watcher(watch: Callable[..., Watcher]) -> Watcher:
    return serve(watch())


ELSEWHERE = (
    "tocsin_otlp_",
    "tocsin_journal_",
    "tocsin_dead_",
    "tocsin_store_",
    "tocsin_held_",
    "tocsin_export_",
    "tocsin_budget_lease_failures_total",
    "agent_budget_leased_dollars",
)
"""Metrics of `tocsin serve`, of the exporter, and of budgets that a server leases."""


@pytest.fixture
def busy(watcher: Watcher, llm: FakeLLM, tmp_path: Path) -> Watcher:
    """A watcher that has seen all there is to see."""
    watcher.add_budgets([Budget("team", limit=50, stop_at=1)], file=tmp_path / "budgets.sqlite")
    watcher.add_slas({"support": WorkflowSLA(max_tokens_per_request=1)})
    watcher.add_stops({"support": StopLimits(max_tokens=100_000, warn_at=0.001)})
    watcher.watch_quality(Quality(tools={"lookup": ToolData(time_at=r"at (\S+)")}))
    asyncio.run(run_everything(llm, "support"))
    leave_traces_of_trouble(watcher)
    watcher.pipeline.tracker.expired_runs += 1
    assert watcher.flush()
    return watcher


def samples(page: str, accept: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a page by name and labels; numbers in labels (le) as numbers."""
    return {
        (
            s.name,
            tuple(sorted((k, v if k != "le" else str(float(v))) for k, v in s.labels.items())),
        ): s.value
        for family in PARSERS[accept](page)
        for s in family.samples
    }


def test_every_metric_of_the_catalogue_is_shown(busy: Watcher) -> None:
    page = get(busy, TEXT)[1]

    shown = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}

    ours = {metric.name for metric in CATALOGUE if not metric.name.startswith(ELSEWHERE)}
    assert ours == shown


def test_promtool_has_nothing_to_say(busy: Watcher, require_program: Callable[[str], str]) -> None:
    page = get(busy, TEXT)[1]

    checked = subprocess.run(
        [require_program("promtool"), "check", "metrics"],
        input=page,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)


def test_both_formats_are_negotiated_and_say_the_same(busy: Watcher) -> None:
    plain_type, plain = get(busy, TEXT)
    open_type, opened = get(busy, OPENMETRICS)

    assert plain_type.startswith("text/plain")
    assert open_type.startswith("application/openmetrics-text")
    moving = {m.EVENTS.name, m.QUEUE_DEPTH.name}
    plain_samples = samples(plain, TEXT)
    open_samples = samples(opened, OPENMETRICS)
    assert {k: v for k, v in plain_samples.items() if k[0] not in moving} == {
        k: v for k, v in open_samples.items() if k[0] not in moving
    }


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
class TestLabelValues:
    def test_survive_the_way_from_the_registry(self, watcher: Watcher, accept: str) -> None:
        with watcher.registry.updating():
            watcher.registry.add(m.RUNS, (HOSTILE, "ok"), 3)

        found = samples(get(watcher, accept)[1], accept)

        assert found[m.RUNS.name, (("outcome", "ok"), ("workflow", HOSTILE))] == 3

    def test_of_agents_are_on_one_line(self, watcher: Watcher, accept: str) -> None:
        with trace(HOSTILE), task_span(HOSTILE):
            pass
        assert watcher.flush()

        found = samples(get(watcher, accept)[1], accept)

        seen = HOSTILE.replace("\n", " ").replace("\a", " ")
        assert found[m.RUNS.name, (("outcome", "ok"), ("workflow", seen))] == 1


@contextmanager
def runs_in_threads(count: int) -> Iterator[None]:
    """Make traces as fast as threads can, until the block ends."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with trace("busy"), task_span("busy"), agent_span("A"):
                pass

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_scrapes_during_updates_are_consistent(watcher: Watcher) -> None:
    pairs = []
    with runs_in_threads(2):
        for _ in range(30):
            found = samples(get(watcher, TEXT)[1], TEXT)
            runs = sum(value for (name, _), value in found.items() if name == m.RUNS.name)
            durations = found.get((f"{m.RUN_DURATION.name}_count", (("workflow", "busy"),)), 0)
            pairs.append((runs, durations))

    assert [] == [pair for pair in pairs if pair[0] != pair[1]]
    assert pairs[0][0] < pairs[-1][0]
