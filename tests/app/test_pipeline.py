from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.clock import NS, ManualClock
from tests.fakes.observer import RecordingObserver
from tests.fakes.spans import span, start
from tocsin.app.pipeline import Pipeline
from tocsin.model.run import Outcome, Run
from tocsin.model.span import (
    Cost,
    ErrorClass,
    Kind,
    RunEnd,
    Span,
    SpanStart,
    TraceEnd,
    Usage,
)
from tocsin.runs.limits import WorkflowSLA

CENT = Cost(Decimal("0.01"), Decimal(0), Decimal(0), Decimal(0))
USAGE = Usage(100, 20)


class Prices:
    """A cent for every call with usage."""

    def cost(self, span: Span) -> Cost | None:
        return None if span.usage is None else CENT

    def provider(self, span: Span) -> str | None:
        return "openai"


class Watched:
    """A pipeline with its clock and somebody who listens."""

    def __init__(self, **slas: WorkflowSLA) -> None:
        self.clock = ManualClock()
        self.pipeline = Pipeline(Prices(), run_ttl_s=60, clock=self.clock)
        self.heard = RecordingObserver()
        self.pipeline.add_observer(self.heard)
        self.pipeline.add_slas(slas)

    def feed(self, *records: SpanStart | Span | RunEnd | TraceEnd) -> "Watched":
        for record in records:
            self.pipeline.feed(record)
        return self

    def sweep(self, after_s: float) -> "Watched":
        self.clock.advance(after_s)
        self.pipeline.sweep()
        return self

    @property
    def run(self) -> Run:
        ((run, _),) = self.heard.all("run_ended")
        assert isinstance(run, Run)
        return run

    @property
    def limits(self) -> list[str]:
        return [breach.limit for breach in self.heard.all("breached")]


def both(kind: Kind, span_id: str, parent_id: str | None = None, **fields: Any) -> list[Any]:
    return [start(kind, span_id, parent_id), span(kind, span_id, parent_id, **fields)]


ROOT, ROOT_END = start(Kind.RUN, "r"), span(Kind.RUN, "r", lasts_s=2)


def test_run_is_told_from_start_to_end() -> None:
    watched = Watched().feed(ROOT, *both(Kind.LLM, "l", "r", usage=USAGE), ROOT_END)

    assert ["run_started", "span_ended", "span_ended", "run_ended"] == [
        method for method, _ in watched.heard.told
    ]
    assert (Outcome.OK, 120, Decimal("0.01"), 2.0) == (
        watched.run.outcome,
        watched.run.total_tokens,
        watched.run.cost_usd,
        watched.run.duration_s,
    )


def test_call_is_priced_and_its_provider_named() -> None:
    watched = Watched().feed(ROOT, *both(Kind.LLM, "l", "r", usage=USAGE))
    (found,) = watched.heard.all("span_ended")

    assert ("w", "openai", CENT) == (found.workflow, found.provider, found.cost)


def test_call_without_a_run_still_counts() -> None:
    watched = Watched().feed(span(Kind.LLM, "l", usage=USAGE))
    (found,) = watched.heard.all("span_ended")

    assert ("unknown", CENT) == (found.workflow, found.cost)
    assert Decimal("0.01") == watched.pipeline.spend.today(watched.clock.wall_ns())


@pytest.mark.parametrize("kind", [Kind.TOOL, Kind.HANDOFF, Kind.GUARDRAIL])
def test_work_is_announced_as_it_begins(kind: Kind) -> None:
    watched = Watched().feed(ROOT, start(kind, "x", "r", name="lookup"))

    assert [(kind, "lookup", "w")] == watched.heard.all("work_started")


def test_retries_are_told_per_run() -> None:
    watched = Watched()
    for run_id in ("r", "q"):
        watched.feed(start(Kind.RUN, run_id, trace_id=run_id))
        for n in range(2):
            tool = both(Kind.TOOL, f"{run_id}{n}", run_id, arguments=1, trace_id=run_id)
            watched.feed(*tool)

    assert [False, True, False, True] == [found.retry for found in watched.heard.all("span_ended")]


def test_conversation_is_counted_over_its_runs() -> None:
    watched = Watched()
    for n in range(3):
        root = start(Kind.RUN, f"r{n}", trace_id=f"t{n}", conversation_id="chat")
        watched.feed(root, span(Kind.RUN, f"r{n}", trace_id=f"t{n}"))

    assert [1, 2, 3] == [turns for _, turns in watched.heard.all("run_ended")]


def test_run_without_a_conversation_has_no_turns_of_one() -> None:
    assert [None] == [turns for _, turns in Watched().feed(ROOT, ROOT_END).heard.all("run_ended")]


# --- rollups ------------------------------------------------------------------------------


def test_tokens_of_a_model_without_spans_come_from_the_runs_rollup() -> None:
    rollup = span(Kind.RUN, "r", usage=USAGE, calls=0)
    watched = Watched().feed(ROOT, rollup)
    call = watched.heard.all("span_ended")[-1]

    assert (120, Decimal("0.01"), 0) == (
        watched.run.total_tokens,
        watched.run.cost_usd,
        watched.run.llm_calls,
    )
    assert (Kind.LLM, 0, CENT) == (call.span.kind, call.span.calls, call.cost)


def test_rollup_of_a_run_with_calls_is_not_counted_again() -> None:
    rollup = span(Kind.RUN, "r", usage=USAGE, calls=0)
    watched = Watched().feed(ROOT, *both(Kind.LLM, "l", "r", usage=USAGE), rollup)

    assert 120 == watched.run.total_tokens


def test_run_that_did_nothing_has_nothing_missing() -> None:
    watched = Watched().feed(ROOT, span(Kind.RUN, "r", calls=0))

    assert (0, 1) == (watched.run.usage_missing, len(watched.heard.all("span_ended")))


def test_run_that_took_turns_and_tells_no_tokens_has_its_usage_missing() -> None:
    watched = Watched().feed(ROOT, *both(Kind.STEP, "s", "r"), span(Kind.RUN, "r", calls=0))

    assert 1 == watched.run.usage_missing


# --- limits -------------------------------------------------------------------------------


def test_limit_is_told_the_moment_it_is_passed() -> None:
    watched = Watched(w=WorkflowSLA(max_tokens_per_request=100))
    watched.feed(ROOT, *both(Kind.LLM, "l", "r", usage=USAGE), *both(Kind.LLM, "m", "r"), ROOT_END)

    assert ["tokens"] == watched.limits
    assert "run_ended" == watched.heard.told[-1][0]


def test_silent_run_over_its_latency_is_noticed_by_sweep() -> None:
    watched = Watched(w=WorkflowSLA(max_latency_seconds=15)).feed(ROOT)
    early = watched.sweep(14).limits
    late = watched.sweep(2).limits
    watched.sweep(5)

    assert ([], ["latency"], ["latency"]) == (early, late, watched.limits)


def test_run_that_ended_in_time_while_its_caller_is_awaited_is_no_breach() -> None:
    watched = Watched(w=WorkflowSLA(max_latency_seconds=15))
    watched.feed(start(Kind.RUN, "r", reports_end=True))
    watched.clock.advance(14.9)
    watched.feed(span(Kind.RUN, "r", lasts_s=14.9))
    watched.sweep(0.5)
    watched.feed(RunEnd(span_id="r", outcome=Outcome.OK, ended_ns=watched.clock.wall_ns()))

    assert ([], Outcome.OK) == (watched.limits, watched.run.outcome)


def test_tokens_of_a_rollup_are_held_to_the_limit_too() -> None:
    watched = Watched(w=WorkflowSLA(max_tokens_per_request=100))
    watched.feed(ROOT, span(Kind.RUN, "r", usage=USAGE, calls=0))

    assert ["tokens"] == watched.limits


def test_abandoned_run_is_swept_up() -> None:
    watched = Watched().feed(ROOT).sweep(61)

    assert Outcome.UNKNOWN is watched.run.outcome


# --- observers ----------------------------------------------------------------------------


def test_observer_that_raises_keeps_nobody_else_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.pipeline = Pipeline(Prices(), clock=watched.clock)
    watched.pipeline.add_observer(RecordingObserver(failing=ValueError("no")))
    watched.pipeline.add_observer(watched.heard)
    watched.feed(ROOT, ROOT_END)

    assert ["run_started", "span_ended", "run_ended"] == [name for name, _ in watched.heard.told]
    assert ({"recording": 3}, 1) == (watched.pipeline.sink_errors, len(caplog.messages))


def test_removed_observer_hears_nothing() -> None:
    watched = Watched()
    watched.pipeline.remove_observer(watched.heard)
    watched.pipeline.remove_observer(watched.heard)

    assert [] == watched.feed(ROOT).heard.told


def test_forgetting_drops_runs_spend_and_counts_and_keeps_observers() -> None:
    watched = Watched(w=WorkflowSLA(max_latency_seconds=1, max_turns=1))
    watched.pipeline.sink_errors["x"] = 1
    watched.feed(ROOT, *both(Kind.LLM, "l", "r", usage=USAGE))
    watched.pipeline.forget()
    watched.sweep(99)
    watched.feed(ROOT_END)

    assert ([], []) == (watched.limits, watched.heard.all("run_ended"))
    assert ({}, Decimal(0)) == (
        watched.pipeline.sink_errors,
        watched.pipeline.spend.today(watched.clock.wall_ns()),
    )


def test_clock_that_jumps_makes_no_durations_or_breaches() -> None:
    watched = Watched(w=WorkflowSLA(max_latency_seconds=15)).feed(ROOT)
    watched.clock.jump(-7200)
    watched.sweep(1)
    watched.clock.jump(2 * 86400)
    watched.sweep(1)
    watched.feed(ROOT_END)

    assert ([], 2.0) == (watched.limits, watched.run.duration_s)


def test_failed_call_is_told_with_its_class() -> None:
    failed = both(Kind.LLM, "l", "r", error=ErrorClass.RATE_LIMIT)
    watched = Watched().feed(ROOT, *failed, ROOT_END)

    assert Outcome.ERROR is watched.run.outcome


def test_trace_end_closes_what_is_open() -> None:
    watched = Watched().feed(ROOT, TraceEnd(trace_id="t", ended_ns=ROOT.started_ns + NS))

    assert 1.0 == watched.run.duration_s
