from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS, NS
from tests.fakes.spans import span, start
from tocsin.model.run import Outcome, Run
from tocsin.model.span import Cost, ErrorClass, Kind, RunEnd, TraceEnd, Usage
from tocsin.runs.tracker import MAX_CLOSED_TRACES, Tracker, fold_call


class Story:
    """Plays steps of one word each kind of thing that happens, one second apart.

    `+run r`, `+llm l in=r`: a start; `trace=`, `workflow=` and `reports` may follow.
    `-llm l failed`: an end; `failed`, or an outcome that the span signals, may follow.
    `caller r ok`: the caller of a run is done. `trace-end t`. `sweep 5`: after 5 more seconds.
    """

    def __init__(self, **settings: Any) -> None:
        self.tracker = Tracker(**settings)
        self.now_s = 0.0
        self.finished: list[Run] = []
        self.begun: list[str] = []

    def play(self, *steps: str) -> "Story":
        for step in steps:
            self.now_s += 1
            verb, *words = step.split()
            getattr(self, {"+": "_start", "-": "_end"}.get(verb[0], f"_{verb.replace('-', '_')}"))(
                *([verb[1:], *words] if verb[0] in "+-" else words)
            )
            self.finished += [run for run, _ in self.tracker.finished()]
        return self

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(run.run_id, str(run.outcome)) for run in self.finished]

    @property
    def now_ns(self) -> int:
        return int(self.now_s * NS)

    def _start(self, kind: str, span_id: str, *words: str) -> None:
        found = dict(word.split("=") for word in words if "=" in word)
        run, is_new = self.tracker.start(
            start(
                Kind(kind),
                span_id,
                found.get("in"),
                at_s=self.now_s,
                trace_id=found.get("trace", "t"),
                workflow=found.get("workflow", "w"),
                reports_end="reports" in words,
            )
        )
        if run is not None and is_new:
            self.begun.append(run.run_id)

    def _end(self, kind: str, span_id: str, *words: str) -> None:
        failed = "failed" in words
        signals = [Outcome(word) for word in words if word in set(Outcome)]
        found = dict(word.split("=") for word in words if "=" in word)
        ended = span(
            Kind(kind),
            span_id,
            at_s=self.now_s - 1,
            trace_id=found.get("trace", "t"),
            error=ErrorClass.SERVER_ERROR if failed else None,
            outcome=signals[0] if signals else None,
        )
        placement = self.tracker.end(ended, self.now_ns)
        self.tracker.fold(placement, ended, None, self.now_ns)

    def _caller(self, span_id: str, outcome: str) -> None:
        self.tracker.end_run(
            RunEnd(
                span_id=span_id,
                outcome=None if outcome == "unseen" else Outcome(outcome),
                ended_ns=NOON_NS + self.now_ns,
            ),
            self.now_ns,
        )

    def _trace_end(self, trace_id: str) -> None:
        ended_ns = NOON_NS + self.now_ns
        self.tracker.end_trace(TraceEnd(trace_id=trace_id, ended_ns=ended_ns), self.now_ns)

    def _sweep(self, seconds: str) -> None:
        self.now_s += float(seconds)
        self.tracker.sweep(self.now_ns, NOON_NS + self.now_ns)


STORIES: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("a run", "+run r, +llm l in=r, -llm l, -run r", [("r", "ok")]),
    (
        "spans that end out of order",
        "+run r, +agent a in=r, +llm l in=a, -agent a, -llm l, -run r",
        [("r", "ok")],
    ),
    ("an agent that failed", "+run r, +agent a in=r, -agent a error, -run r", [("r", "error")]),
    (
        "a turn limit beats the error of its agent",
        "+run r, +agent a in=r, +step s in=a, -step s error, -agent a max_turns, -run r",
        [("r", "max_turns")],
    ),
    ("a failed last call", "+run r, +llm l in=r, -llm l failed, -run r", [("r", "error")]),
    (
        "a failed call that was followed by a good one",
        "+run r, +llm l in=r, -llm l failed, +llm m in=r, -llm m, -run r",
        [("r", "ok")],
    ),
    ("cut off in a call", "+run r, +llm l in=r, -run r", [("r", "cancelled")]),
    (
        "a tool's own work may be left behind",
        "+run r, +tool t in=r, +llm l in=t, -tool t, -run r",
        [("r", "ok")],
    ),
    (
        "an agent used as a tool, whose failure the outer agent handled",
        "+run r, +tool t in=r, +run i in=t, +agent a in=i, -agent a error, -run i, -tool t, -run r",
        [("r", "ok")],
    ),
    (
        "a nested run's end does not end the outer one",
        "+run r, +run i in=r, -run i, +llm l in=r, -llm l, trace-end t",
        [("r", "ok")],
    ),
    (
        "two runs in a trace, one after the other",
        "+run r, -run r, +run q, -run q, trace-end t",
        [("r", "ok"), ("q", "ok")],
    ),
    (
        "two runs in a trace at once",
        "+run r, +run q, +agent a in=q, -agent a error, -run r, -run q",
        [("r", "ok"), ("q", "error")],
    ),
    (
        "runs in two traces with the same shape",
        "+run r, +run q trace=u, -run q trace=u, trace-end t",
        [("q", "ok"), ("r", "ok")],
    ),
    ("no run spans: the trace is the run", "+agent a, -agent a, trace-end t", [("a", "ok")]),
    (
        "no run spans: agents that hand over are one run",
        "+agent a, -agent a, +agent b, -agent b error, trace-end t",
        [("a", "error")],
    ),
    ("a lone call", "+llm l, -llm l, trace-end t", [("l", "ok")]),
    ("a lone custom span is no run", "+other o, -other o, trace-end t", []),
    ("the root's end was lost", "+run r, +llm l in=r, -llm l, trace-end t", [("r", "ok")]),
    ("an end without a start", "-llm l, -run r", []),
    ("a child whose parent was lost", "+run r, +llm l in=gone, -run r", [("r", "cancelled")]),
    ("a duplicate end", "+run r, -run r, -run r", [("r", "ok")]),
    ("a duplicate start", "+run r, +run r, -run r, trace-end t", [("r", "ok")]),
    (
        "a duplicate start of a child",
        "+run r, +llm l in=r, +llm l in=r, -llm l, -run r, trace-end t",
        [("r", "ok")],
    ),
    ("a late span", "+run r, +tool t in=r, -run r, -tool t", [("r", "cancelled")]),
    ("a late start of work opens no run", "+run r, -run r, +llm l in=r, -llm l", [("r", "ok")]),
    ("the caller reports after the root", "+run r reports, -run r, caller r ok", [("r", "ok")]),
    ("the caller reports before the root", "+run r reports, caller r ok, -run r", [("r", "ok")]),
    (
        "what the caller saw outranks the spans",
        "+run r reports, +agent a in=r, -agent a error, -run r, caller r ok",
        [("r", "ok")],
    ),
    (
        "a caller that could not tell",
        "+run r reports, +agent a in=r, -agent a error, -run r, caller r unseen",
        [("r", "error")],
    ),
    ("nobody waits for the caller yet", "+run r reports, -run r", []),
    ("a caller that never reports", "+run r reports, -run r, sweep 1", [("r", "ok")]),
    (
        "a caller whose root never ends",
        "+run r reports, caller r cancelled, sweep 1",
        [("r", "cancelled")],
    ),
    ("a root that may still end", "+run r reports, caller r cancelled", []),
    (
        "a caller that reports twice",
        "+run r reports, -run r, caller r ok, caller r error",
        [("r", "ok")],
    ),
    ("a caller without a run", "caller r ok, trace-end t", []),
    ("a trace that ends before its caller", "+run r reports, trace-end t, sweep 1", [("r", "ok")]),
    (
        "a trace that ends twice",
        "+run r reports, trace-end t, trace-end t, caller r ok",
        [("r", "ok")],
    ),
    (
        "a run without root span whose caller reports",
        "+agent a reports, caller a ok",
        [("a", "ok")],
    ),
    ("idle for too long", "+run r, sweep 100", [("r", "unknown")]),
    ("not idle for too long yet", "+run r, sweep 50, +llm l in=r, sweep 50", []),
    (
        "work after it was given up",
        "+run r, sweep 100, +llm l in=r, -llm l, -run r",
        [("r", "unknown")],
    ),
    ("given up while its caller is awaited", "+run r reports, sweep 100", [("r", "unknown")]),
]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [pytest.param(steps, expected, id=name) for name, steps, expected in STORIES],
)
def test_story(steps: str, expected: list[tuple[str, str]]) -> None:
    story = Story(idle_ttl_s=90, caller_grace_s=0.5).play(*steps.split(", "))

    assert expected == story.outcomes


@pytest.mark.parametrize("steps", [pytest.param(steps, id=name) for name, steps, _ in STORIES])
def test_nothing_is_left_behind(steps: str) -> None:
    story = Story(idle_ttl_s=90, caller_grace_s=0.5).play(*steps.split(", "), "sweep 1000")

    assert ([], {}, {}) == (
        list(story.tracker._open),
        story.tracker._members,
        story.tracker._by_trace,
    )
    assert Counter(story.begun) == Counter(run_id for run_id, _ in story.outcomes)


def test_oldest_run_is_evicted_when_there_are_too_many() -> None:
    story = Story(max_open_runs=2).play("+run a trace=1", "+run b trace=2", "+run c trace=3")

    assert [("a", "unknown")] == story.outcomes
    assert (1, 2) == (story.tracker.evicted_runs, len(story.tracker.open_runs))


def test_expired_runs_are_counted() -> None:
    story = Story(idle_ttl_s=90).play("+run a trace=1", "+run b trace=2", "sweep 100")

    assert 2 == story.tracker.expired_runs


def test_late_spans_are_counted() -> None:
    story = Story().play("+run r", "-run r", "-llm l", "-tool t")

    assert 2 == story.tracker.late_spans


def test_late_span_is_counted_under_the_workflow_of_its_trace() -> None:
    story = Story().play("+run r workflow=billing", "-run r")

    assert ("billing", "unknown") == (
        story.tracker.end(span(Kind.TOOL, "late"), 0).workflow,
        story.tracker.end(span(Kind.TOOL, "lost", trace_id="other"), 0).workflow,
    )


def test_run_whose_root_has_ended_is_not_going_on() -> None:
    story = Story().play("+run r reports", "-run r", "+run q trace=u")

    assert ["q"] == [run.run_id for run in story.tracker.open_runs]


def test_duration_is_from_the_root_span_not_from_its_caller() -> None:
    story = Story().play("+run r reports", "-run r", "caller r ok")

    assert 1.0 == story.finished[0].duration_s


def test_duration_without_the_root_is_until_the_caller_was_done() -> None:
    story = Story(caller_grace_s=0.5).play(
        "+run r reports", "+llm l in=r", "caller r cancelled", "sweep 9"
    )

    assert 2.0 == story.finished[0].duration_s


def test_turns_tools_and_handoffs_are_counted() -> None:
    story = Story().play(
        "+run r", "+step s in=r", "-step s", "+step u in=r", "-step u", "+tool t in=r", "-tool t",
        "+handoff h in=r", "-handoff h", "-run r",
    )  # fmt: skip
    found = story.finished[0]

    assert (2, 1, 1) == (found.turns, found.tool_calls, found.handoffs)


def test_calls_are_the_turns_where_there_are_no_turn_spans() -> None:
    story = Story().play("+run r", "+llm l in=r", "-llm l", "+llm m in=r", "-llm m", "-run r")

    assert 2 == story.finished[0].turns


def test_nested_turns_are_not_the_outer_runs() -> None:
    story = Story().play(
        "+run r", "+step s in=r", "+tool t in=s", "+run i in=t", "+step u in=i", "-step u",
        "-run i", "-tool t", "-step s", "-run r",
    )  # fmt: skip

    assert 1 == story.finished[0].turns


def test_closed_traces_are_remembered_within_bounds() -> None:
    tracker = Tracker()
    for n in range(MAX_CLOSED_TRACES + 100):
        tracker.start(start(Kind.RUN, f"r{n}", trace_id=f"t{n}"))
        root = span(Kind.RUN, f"r{n}", trace_id=f"t{n}")
        tracker.fold(tracker.end(root, 0), root, None, 0)
        tracker.finished()

    assert MAX_CLOSED_TRACES == len(tracker._closed_traces)


FOLDS = [
    (span(usage=Usage(10, 5)), Cost(*[1] * 4), (1, 10, 5, 4, 1, 0, 0)),  # type: ignore[arg-type]
    (span(usage=Usage(10, 5)), None, (1, 10, 5, 0, 0, 1, 0)),
    (span(usage=None), None, (1, 0, 0, 0, 0, 0, 1)),
    (span(usage=None, error=ErrorClass.RATE_LIMIT), None, (1, 0, 0, 0, 0, 0, 0)),
    (span(usage=Usage(10, 5), calls=0), None, (0, 10, 5, 0, 0, 1, 0)),
]


@pytest.mark.parametrize(("call", "cost", "expected"), FOLDS)
def test_call_is_added_to_its_run(
    call: Any, cost: Cost | None, expected: tuple[object, ...]
) -> None:
    story = Story().play("+run r")
    run = story.tracker.open_runs[0]
    fold_call(run, call, cost)

    assert expected == (
        run.llm_calls,
        run.input_tokens,
        run.output_tokens,
        run.cost_usd,
        run.priced_calls,
        run.unpriced_calls,
        run.usage_missing,
    )


# --- any sequence at all ------------------------------------------------------------------

KINDS = st.sampled_from(["run", "agent", "step", "llm", "tool", "handoff", "other"])
IDS = st.sampled_from("abcdefgh")
TRACES = st.sampled_from(["1", "2", "3"])


@st.composite
def steps(draw: st.DrawFn) -> str:
    verb = draw(st.sampled_from("++++---cts"))
    match verb:
        case "+":
            parent = draw(st.sampled_from(["", *(f" in={name}" for name in "abcdefghz")]))
            reports = draw(st.sampled_from(["", " reports"]))
            return f"+{draw(KINDS)} {draw(IDS)}{parent} trace={draw(TRACES)}{reports}"
        case "-":
            says = draw(st.sampled_from(["", " failed", " error", " cancelled", " guardrail"]))
            return f"-{draw(KINDS)} {draw(IDS)} trace={draw(TRACES)}{says}"
        case "c":
            return f"caller {draw(IDS)} {draw(st.sampled_from(['ok', 'error', 'unseen']))}"
        case "t":
            return f"trace-end {draw(TRACES)}"
        case _:
            return f"sweep {draw(st.sampled_from([0, 1, 100]))}"


@given(st.lists(steps(), max_size=40), st.integers(1, 4))
def test_any_sequence_finishes_every_run_exactly_once_and_leaves_nothing(
    sequence: list[str], max_open_runs: int
) -> None:
    story = Story(idle_ttl_s=90, caller_grace_s=0.5, max_open_runs=max_open_runs)
    story.play(*sequence)
    going = {run.run_id for run in story.tracker.open_runs}
    assert going <= set(story.begun)
    assert len(story.tracker._open) <= max_open_runs

    story.play("sweep 1000")

    assert Counter(story.begun) == Counter(run_id for run_id, _ in story.outcomes)
    assert ([], {}, {}) == (
        list(story.tracker._open),
        story.tracker._members,
        story.tracker._by_trace,
    )
    assert all(run.ended_ns is not None and run.outcome for run in story.finished)


def test_a_span_is_its_innermost_agents() -> None:
    tracker = Tracker()
    for kind, span_id, parent, name in (
        (Kind.RUN, "r", None, "w"),
        (Kind.LLM, "l0", "r", "n"),
        (Kind.AGENT, "a", "r", "outer"),
        (Kind.STEP, "s", "a", "turn"),
        (Kind.LLM, "l1", "s", "n"),
        (Kind.TOOL, "t", "s", "ask"),
        (Kind.RUN, "r2", "t", "inner run"),
        (Kind.AGENT, "b", "r2", "inner"),
        (Kind.LLM, "l2", "b", "n"),
        (Kind.AGENT, "c", "r", "after"),
        (Kind.LLM, "l3", "c", "n"),
    ):
        tracker.start(start(kind, span_id, parent, name=name))

    agents = {one: tracker.end(span(Kind.LLM, one), 0).agent for one in ("l0", "l1", "l2", "l3")}
    assert {"l0": None, "l1": "outer", "l2": "inner", "l3": "after"} == agents


def test_spans_have_their_runs_tags_also_when_they_come_late() -> None:
    tracker = Tracker()
    tags = {"customer": "acme"}
    tracker.start(start(Kind.RUN, "r", tags=tags, is_guarded=True))
    tracker.start(start(Kind.LLM, "l", "r"))
    inside = tracker.end(span(Kind.LLM, "l"), 0)
    unstarted = tracker.end(span(Kind.LLM, "l2"), 0)
    root = span(Kind.RUN, "r")
    tracker.fold(tracker.end(root, 0), root, None, 0)
    late = tracker.end(span(Kind.LLM, "l3"), 0)

    assert [(tags, True)] * 3 == [
        (found.tags, found.is_guarded) for found in (inside, unstarted, late)
    ]
    assert 1 == tracker.late_spans
