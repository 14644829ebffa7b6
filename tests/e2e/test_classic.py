"""The classic processors, registered the SDK's way, agree with each other to the last count."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from agents import add_trace_processor, function_tool, set_trace_processors
from agents.tracing import get_trace_provider
from openai import AsyncOpenAI
from prometheus_client import CollectorRegistry, generate_latest

import tocsin
from tests.e2e import scenarios as s
from tests.e2e.setup import Setup
from tests.fakes.counts import Page
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import Failure, FakeLLM, Request, Text, ToolCall, ToolCalls, flaky


class Client:
    """A metrics client as a program may have: it adds everything up."""

    def __init__(self) -> None:
        self.totals: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(
            float
        )
        self.counts: defaultdict[str, int] = defaultdict(int)

    def counter(self, name: str, value: float, tags: dict[str, str]) -> None:
        self.totals[name, tuple(sorted(tags.items()))] += value

    def histogram(self, name: str, value: float, tags: dict[str, str]) -> None:
        self.counts[name] += 1
        self.totals[name, tuple(sorted(tags.items()))] += value

    def gauge(self, name: str, value: float, tags: dict[str, str]) -> None:
        raise AssertionError("no classic metric is a gauge")

    def total(self, name: str, **tags: str) -> float:
        return sum(
            value
            for (found, pairs), value in self.totals.items()
            if found == name and tags.items() <= dict(pairs).items()
        )


class Alerts:
    """An alert service that remembers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, *, severity: str, message: str) -> None:
        self.sent.append((severity, message))


@contextmanager
def processors_restored() -> Iterator[None]:
    before = list(get_trace_provider()._multi_processor._processors)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        set_trace_processors(before)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    with processors_restored():
        found = Watcher()
        yield found
        found.close()


def mixed(request: Request) -> Text | ToolCalls:
    """One or two tool calls, then an answer; chosen by the request's own dice."""
    if request.step < 1 or (request.step < 2 and request.rng.random() < 0.5):
        return ToolCalls((ToolCall(request.rng.choice(["lookup", "broken"]), {"key": "a"}),))
    return Text("done")


def run_mixed(llm: FakeLLM, runs: int = 30) -> None:
    llm.set(None, flaky(mixed, Failure(429), 0.1))
    dice = random.Random(4)

    async def main() -> None:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
            setup = Setup(client)
            program = s.using(s.lookup, s.broken)
            some = (program, s.streamed_chat, s.plain_chat, s.agent_as_tool)
            chosen = [dice.choice(some)(setup) for _ in range(runs)]
            await asyncio.gather(*chosen, return_exceptions=True)

    asyncio.run(main())


def all_faces(watcher: Watcher, client: Client, alerts: Alerts, registry: Any) -> list[Any]:
    return [
        tocsin.PrometheusTraceProcessor(registry, watcher=watcher),
        tocsin.MetricsCollector(client, watcher=watcher),
        tocsin.CostTracker(client, watcher=watcher),
        tocsin.SLAEnforcementProcessor(
            alerts, {"*": tocsin.WorkflowSLA(15.0, 400)}, watcher=watcher
        ),
    ]


@pytest.mark.parametrize("register", ["add", "set"])
def test_all_faces_agree_to_the_last_count(register: str, watcher: Watcher, llm: FakeLLM) -> None:
    client, alerts, registry = Client(), Alerts(), CollectorRegistry()
    faces = all_faces(watcher, client, alerts, registry)
    set_trace_processors(faces if register == "set" else [])
    if register == "add":
        for face in faces:
            add_trace_processor(face)

    run_mixed(llm)
    assert watcher.flush()
    watcher.close()
    page = Page(watcher.registry.collect())

    answered = sum(count for (_, status), count in llm.counts.items())
    assert answered == page.total("agent_llm_calls_total")
    assert page.total("agent_llm_calls_total") == client.counts["agent.llm.duration_seconds"]
    for direction in ("input", "output"):
        ours = page.total("agent_tokens_total", direction=direction)
        assert ours == client.total(f"agent.tokens.{direction}_total")
        assert ours > 0
    for cost_type in ("input", "output", "cache_read"):
        ours = page.total("agent_cost_dollars_total", cost_type=cost_type)
        assert ours == pytest.approx(
            client.total("agent.cost.dollars_total", cost_type=cost_type), rel=1e-9
        )
        assert ours > 0
    assert page.total("agent_tool_errors_total") == client.total("agent.tool.errors_total") > 0
    tools = page.observed("agent_tool_duration_seconds")
    assert tools[0] == client.counts["agent.tool.duration_seconds"]
    for outcome in ("ok", "error"):
        ours = page.total("agent_workflow_runs_total", outcome=outcome)
        assert ours == client.total("agent.workflow.completions_total", outcome=outcome) > 0
    runs, seconds = page.observed("agent_workflow_duration_seconds")
    assert 30 == runs
    assert seconds == pytest.approx(client.total("agent.workflow.duration_seconds"))
    assert page.total("agent_sla_breaches_total") == len(alerts.sent) > 0
    assert page.total("agent_budget_spent_dollars") == pytest.approx(
        client.total("agent.cost.dollars_total")
    )


def test_prometheus_face_shows_metrics_in_its_registry(watcher: Watcher, llm: FakeLLM) -> None:
    registry = CollectorRegistry()
    set_trace_processors([tocsin.PrometheusTraceProcessor(registry, watcher=watcher)])
    run_mixed(llm, runs=3)
    watcher.flush()
    assert b"agent_workflow_runs_total{" in generate_latest(registry)


def test_span_durations_have_their_type(watcher: Watcher, llm: FakeLLM) -> None:
    client = Client()
    set_trace_processors([tocsin.MetricsCollector(client, watcher=watcher)])
    run_mixed(llm, runs=5)
    watcher.flush()
    kinds = {
        dict(tags)["span_type"]
        for name, tags in client.totals
        if name == "agent.span.duration_seconds"
    }
    assert {"run", "step", "agent", "llm", "tool"} == kinds


def test_prices_given_to_the_cost_tracker_apply(watcher: Watcher, llm: FakeLLM) -> None:
    client = Client()
    prices = {"gpt-4o": {"input": 1000, "output": 2000, "cache_read": 0}}
    set_trace_processors([tocsin.CostTracker(client, prices, watcher=watcher)])

    async def main() -> None:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as openai:
            await s.plain_responses(Setup(openai))

    asyncio.run(main())
    watcher.flush()
    assert 0.056 == pytest.approx(client.total("agent.cost.dollars_total", cost_type="input"))
    assert 0.06 == pytest.approx(client.total("agent.cost.dollars_total", cost_type="output"))


def test_a_failing_client_is_counted_and_disturbs_nobody(watcher: Watcher, llm: FakeLLM) -> None:
    class Failing(Client):
        def histogram(self, name: str, value: float, tags: dict[str, str]) -> None:
            raise ConnectionError("statsd is gone")

    healthy = Client()
    set_trace_processors(
        [
            tocsin.MetricsCollector(Failing(), watcher=watcher),
            tocsin.MetricsCollector(healthy, watcher=watcher),
        ]
    )
    run_mixed(llm, runs=5)
    watcher.flush()
    page = Page(watcher.families())
    assert page.total("tocsin_sink_errors_total", sink="client") > 0
    assert 5 == page.total("agent_workflow_runs_total")
    assert 5 == healthy.counts["agent.workflow.duration_seconds"]


def test_breach_is_raised_while_the_run_goes_on(
    watch: Callable[..., Watcher], llm: FakeLLM
) -> None:
    alerts = Alerts()
    watcher = watch()
    watcher.add_slas({"Agent workflow": tocsin.WorkflowSLA(0.2, severity="critical")}, alerts)
    seen_in_flight: list[bool] = []

    @function_tool
    async def wait() -> str:
        for _ in range(100):
            await asyncio.sleep(0.05)
            if alerts.sent:
                break
        seen_in_flight.append(bool(alerts.sent))
        return "waited"

    llm.set(None, s.tool_then_answer("wait"))

    async def main() -> None:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
            await s.using(wait)(Setup(client))

    asyncio.run(main())
    watcher.flush()
    assert [True] == seen_in_flight
    assert [("critical", True)] == [(sev, "over the limit" in text) for sev, text in alerts.sent]
    assert 1 == Page(watcher.families()).total("agent_sla_breaches_total", limit="latency")
