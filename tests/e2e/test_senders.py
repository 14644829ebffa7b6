"""Real libraries export to a real server: what they did is what the server counted and kept.

Each sender is a program of its own in `.venv-senders` (see `tests.e2e.senders.job` for what it
does), so neither its instrumentors nor its versions reach the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.conftest import IN_CI
from tests.fakes.process import ROOT, Start, starting, wait_for
from tests.fakes.server_process import ServerProcess
from tocsin.lab.fake_llm import Failure, FakeLLM, Text, ToolCall, ToolCalls, script
from tocsin.model.span import ErrorClass, Kind
from tocsin.store.base import RunQuery, RunView
from tocsin.store.embedded.store import EmbeddedStore

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

VENV = ROOT / ".venv-senders"
SENDER_S = 120.0
"""A sender takes 2 to 5 s, mostly imports; a test took 46 s beside three busy loops on 2 cores."""
SETTLED_S = 20.0
MODEL, LIMITED = "gpt-4o", "gpt-4o-mini"

TROUBLE = (
    *("dead", "dropped", "duplicate", "errors", "late", "lost"),
    *("malformed", "overflows", "retries", "skipped", "torn"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A program, and where what its library records falls short of what happened."""

    name: str
    program: str
    protocol: str = "OTLP/HTTP"
    has_first_token: bool = False
    has_reasoning: bool = True
    has_conversation: bool = False
    failed_model: str = LIMITED

    def counted(self) -> set[str]:
        """Every series of agent_* that is not 0, but for sums and buckets."""
        lines = COUNTED.replace("LIMITED", self.failed_model).split("\n")
        lines += [FIRST_TOKENS] if self.has_first_token else []
        lines += [REASONING] if self.has_reasoning else []
        lines += [CONVERSATIONS] if self.has_conversation else []
        return {line for line in lines if line}


# Four answered calls of gpt-4o: 120 tokens in (64 of them cached), 30 out (10 of them reasoning).
# In dollars per million tokens: 2.50 in, 1.25 cached, 10 out.
COUNTED = """
agent_workflow_runs_total{outcome=ok,workflow=weather} 2
agent_workflow_runs_total{outcome=error,workflow=weather} 1
agent_workflow_duration_seconds_count{workflow=weather} 3
agent_workflow_turns_count{workflow=weather} 3
agent_workflow_tokens_count{workflow=weather} 2
agent_workflow_cost_dollars_count{workflow=weather} 2
agent_llm_calls_total{model=gpt-4o,provider=openai,workflow=weather} 4
agent_llm_calls_total{model=LIMITED,provider=openai,workflow=weather} 1
agent_llm_call_duration_seconds_count{model=gpt-4o,workflow=weather} 4
agent_llm_call_duration_seconds_count{model=LIMITED,workflow=weather} 1
agent_llm_errors_total{error=rate_limit,model=LIMITED,provider=openai,workflow=weather} 1
agent_tokens_total{direction=input,model=gpt-4o,workflow=weather} 480
agent_tokens_total{direction=output,model=gpt-4o,workflow=weather} 120
agent_token_details_total{detail=cache_read,model=gpt-4o,workflow=weather} 256
agent_cost_dollars_total{cost_type=input,model=gpt-4o,workflow=weather} 0.00056
agent_cost_dollars_total{cost_type=cache_read,model=gpt-4o,workflow=weather} 0.00032
agent_cost_dollars_total{cost_type=output,model=gpt-4o,workflow=weather} 0.0012
agent_tool_duration_seconds_count{tool=weather,workflow=weather} 2
"""
FIRST_TOKENS = "agent_llm_time_to_first_token_seconds_count{model=gpt-4o,workflow=weather} 2"
REASONING = "agent_token_details_total{detail=reasoning,model=gpt-4o,workflow=weather} 40"
CONVERSATIONS = "agent_conversation_turns_count{workflow=weather} 3"

SENDERS = (
    Sender(name="opentelemetry-sdk-http", program="sdk http", has_first_token=True),
    Sender(
        name="opentelemetry-sdk-grpc",
        program="sdk grpc",
        protocol="OTLP/gRPC",
        has_first_token=True,
    ),
    # A failed call names no model.
    Sender(
        name="openinference-openai-agents",
        program="agents_sdk openinference",
        failed_model="unknown",
    ),
    Sender(name="logfire-openai-agents", program="agents_sdk logfire"),
    Sender(
        name="pydantic-ai",
        program="pydantic_ai_agent",
        has_first_token=True,
        has_conversation=True,
    ),
    Sender(name="openinference-langchain", program="langchain_agent openinference"),
    Sender(name="traceloop-langchain", program="langchain_agent traceloop", has_reasoning=False),
)


@pytest.fixture(autouse=True)
def libraries() -> None:
    """The last thing that the set-up writes says that everything is there."""
    if not (VENV / "setup-stamp").exists():
        give_up = pytest.fail if IN_CI else pytest.skip
        give_up(f"the senders' libraries are not in {VENV.name}; run: make setup-senders")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as run:
        yield run


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    call = ToolCall("weather", {"city": "Paris"})
    behaviour = script([ToolCalls((call,)), Text("Sun in Paris.")])
    with FakeLLM(behaviour, models={LIMITED: lambda _: Failure(429)}) as server:
        yield server


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
def test_counts_what_a_sender_did(
    sender: Sender, start: Start, llm: FakeLLM, tmp_path: Path
) -> None:
    server = ServerProcess(start, tmp_path / "data")
    exported = send(sender, start, llm, server.addresses[sender.protocol])

    assert 5 == len(llm.requests)
    assert 2 == sum(request.stream for request in llm.requests)
    assert 1 == llm.counts[LIMITED, 429]

    assert wait_for(lambda: finished_runs(server) >= 3, SETTLED_S), server.metrics()
    samples = read(server.metrics())
    assert sender.counted() == counted(samples)
    assert [] == troubles(samples)

    assert 0 == server.stop()
    assert "" == complaints(server.program.errors)
    check_stored(stored(server.data), exported, sender)


def send(sender: Sender, start: Start, llm: FakeLLM, address: str) -> int:
    """Have a sender do its work; return how many spans it exported."""
    module, *arguments = sender.program.split()
    program = start(
        command=[
            str(VENV / "bin" / "python"), "-m", f"tests.e2e.senders.{module}", *arguments
        ],
        FAKE_LLM=llm.base_url,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{address}",
        OTEL_SERVICE_NAME="forecasts",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )  # fmt: skip
    assert 0 == program.exit_code(SENDER_S), program.errors
    return int(program.output.splitlines()[-1])


def check_stored(runs: list[RunView], exported: int, sender: Sender) -> None:
    """Every exported span is stored, in the run that it belongs to, with its price."""
    assert exported == sum(len(view.spans) for view in runs)
    assert {("forecasts", "test")} == {(view.run.service, view.run.environment) for view in runs}
    limited, *answered = sorted((view.run.run for view in runs), key=lambda run: run.llm_calls)
    assert ("error", 1, 0, 0, 0, None) == (
        limited.outcome,
        limited.llm_calls,
        limited.input_tokens,
        limited.output_tokens,
        limited.tool_calls,
        limited.known_cost_usd,
    )
    assert 2 * [("ok", 2, 240, 60, 1, Decimal("0.00104"))] == [
        (
            run.outcome,
            run.llm_calls,
            run.input_tokens,
            run.output_tokens,
            run.tool_calls,
            run.known_cost_usd,
        )
        for run in answered
    ]
    spans = [stored.span for view in runs for stored in view.spans]
    failed = [span.error for span in spans if span.kind is Kind.LLM and span.error]
    assert [ErrorClass.RATE_LIMIT] == failed
    first_tokens = [span for span in spans if span.first_token_s is not None]
    assert (2 if sender.has_first_token else 0) == len(first_tokens)
    assert all(0 < (span.first_token_s or 0) <= span.duration_s for span in first_tokens)
    conversations = {view.run.run.conversation_id for view in runs}
    assert sender.has_conversation == (None not in conversations)
    assert len(conversations) == (3 if sender.has_conversation else 1)


def read(page: str) -> list[Sample]:
    """Samples that are not 0."""
    families = text_string_to_metric_families(page)
    return [sample for family in families for sample in family.samples if sample.value]


def finished_runs(server: ServerProcess) -> float:
    samples = read(server.metrics())
    return sum(sample.value for sample in samples if sample.name == "agent_workflow_runs_total")


def counted(samples: list[Sample]) -> set[str]:
    """The series of agent_* as COUNTED writes them."""
    return {
        written(sample)
        for sample in samples
        if sample.name.startswith("agent_")
        and not sample.name.endswith(("_sum", "_bucket", "_created"))
        and sample.name != "agent_budget_spent_dollars"  # follows within half a second
    }


def troubles(samples: list[Sample]) -> list[str]:
    """The server's own metrics that say that something was lost, refused or done twice."""
    return [
        written(sample)
        for sample in samples
        if sample.name.startswith("tocsin_")
        and (
            any(word in sample.name for word in TROUBLE)
            or sample.labels.get("outcome", "accepted") != "accepted"
            or sample.labels.get("code", "OK") not in ("OK", "200")
        )
    ]


def written(sample: Sample) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}} {sample.value:g}"


def complaints(log: str) -> str:
    """The lines of a server's log that are no news."""
    return "\n".join(line for line in log.splitlines() if " INFO " not in line)


def stored(data: Path) -> list[RunView]:
    """Every run in a stopped server's store, with its spans."""
    store = EmbeddedStore(data / "store", read_only=True)
    try:
        views = [store.run(found.run.run_id) for found in store.runs(RunQuery()).runs]
        return [view for view in views if view is not None]
    finally:
        store.close()
