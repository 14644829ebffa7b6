"""What is certain of a run whose root has not come; and nothing that is not."""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS, NS
from tests.fakes.spans import span
from tocsin.model.run import Breach, Outcome
from tocsin.model.span import Cost, Kind, Span, Usage
from tocsin.runs import level_watch
from tocsin.runs.flight import PartOfRun
from tocsin.runs.fold import fold
from tocsin.runs.level_check import FoundBreach
from tocsin.runs.level_watch import LevelWatch
from tocsin.runs.limits import WorkflowSLA
from tocsin.runs.tree import CALLS
from tocsin.sources.tocsin_attributes import NESTED, RUN_COUNTS, RUN_ID, RUN_OUTCOME

ZERO = Decimal(0)


class Cent:
    """Every call with known usage costs a cent."""

    def cost(self, call: Span) -> Cost | None:
        return None if call.usage is None else Cost(Decimal("0.01"), ZERO, ZERO, ZERO)


class World:
    """A trace book, a server's clock, and a watch; a span comes as it ends unless told else."""

    def __init__(self, **slas: WorkflowSLA) -> None:
        self.spans: dict[str, dict[str, Span]] = {}
        self.reads = 0
        named = {name.replace("any", "*"): sla for name, sla in slas.items()}
        self.watch = LevelWatch(named, Cent(), self._so_far)

    def _so_far(self, trace_id: str) -> list[Span]:
        self.reads += 1
        return list(self.spans.get(trace_id, {}).values())

    def come(self, *spans: Span, late_s: float = 0) -> list[Breach]:
        """Spans that arrive in one body, so long after the last of them ended."""
        for one in spans:
            self.spans.setdefault(one.trace_id, {})[one.span_id] = one
        ended_ns = max(one.ended_ns for one in spans)
        now_ns = ended_ns - NOON_NS + int(late_s * NS)
        return told(self.watch.take(spans, now_ns))

    def sweep(self, at_s: float) -> list[Breach]:
        return told(self.watch.sweep(int(at_s * NS)))


def told(found: Sequence[FoundBreach]) -> list[Breach]:
    return [one.breach for one in found]


def limits(breaches: Sequence[Breach]) -> list[tuple[str | None, str, float]]:
    return [(one.run_id, one.limit, round(one.value, 3)) for one in breaches]


def llm(span_id: str, parent_id: str | None = "gone", tokens: int = 60, **fields: Any) -> Span:
    found: dict[str, Any] = {"model": "gpt-4.1", "usage": Usage(tokens, 0), "workflow": "w"}
    return span(Kind.LLM, span_id, parent_id, **(found | fields))


def ours(one: Span, run_id: str = "r", **more: str) -> Span:
    """As our own exporter sends it."""
    attributes = {RUN_ID: run_id} | more
    return msgspec.structs.replace(one, attributes=attributes, workflow=one.workflow or "w")


def report(run_id: str = "r", **fields: Any) -> Span:
    counts = dict.fromkeys(RUN_COUNTS, "0")
    root = span(Kind.RUN, run_id, None, name="w", **fields)
    return ours(root, run_id, **counts, **{RUN_OUTCOME: Outcome.OK.value})


TOKENS = WorkflowSLA(max_tokens_per_request=100)


class TestRunsThatTheirSpansName:
    def test_tokens(self) -> None:
        world = World(w=TOKENS)
        assert [] == world.come(ours(llm("c1")))
        assert [("r", "tokens", 120.0)] == limits(world.come(ours(llm("c2", "elsewhere"))))

    def test_runs_of_one_trace_apart(self) -> None:
        world = World(w=TOKENS)
        found = world.come(ours(llm("c1"), "r1"), ours(llm("c2"), "r2"), ours(llm("c3"), "r2"))
        assert [("r2", "tokens", 120.0)] == limits(found)

    def test_dollars_and_first_tokens(self) -> None:
        world = World(w=WorkflowSLA(max_cost_per_request=0.015, max_first_token_seconds=2))
        first = world.come(ours(llm("c1", first_token_s=2.5)))
        second = world.come(ours(llm("c2", first_token_s=0.5)))
        assert [("r", "first_token", 2.5)] == limits(first)
        assert ("r", "cost", 0.02) in limits(second)

    def test_turns_but_not_those_of_agents_used_as_tools(self) -> None:
        world = World(w=WorkflowSLA(max_turns=2))
        turns = [ours(span(Kind.STEP, f"s{n}", "a", name="billing")) for n in range(3)]
        nested = [ours(span(Kind.STEP, f"n{n}", "b"), **{NESTED: "true"}) for n in range(9)]
        assert [] == world.come(*nested, *turns[:2])
        (breach,) = world.come(turns[2])
        assert ("turns", 3.0, "agent billing") == (
            *(breach.limit, breach.value, breach.contributors[0].text),
        )

    def test_a_run_that_is_over_is_left_to_the_judge(self) -> None:
        world = World(w=TOKENS)
        assert [] == world.come(ours(llm("c1")), ours(llm("c2")), report())

    def test_latency_by_the_clock(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(ours(llm("c1", at_s=2)))
        assert ([], []) == (world.sweep(16.9), world.sweep(17.0))
        assert [("r", "latency", 15.1)] == limits(world.sweep(17.1))
        assert [] == world.sweep(99)

    def test_latency_from_the_earliest_span(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(ours(llm("c1", at_s=5)))
        world.come(ours(span(Kind.TOOL, "t", "a", at_s=1, lasts_s=9)))
        assert [("r", "latency", 15.1)] == limits(world.sweep(16.1))

    def test_no_latency_of_a_run_whose_report_came(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(ours(llm("c1")))
        world.come(report(lasts_s=3))
        assert [] == world.sweep(99)

    def test_a_slow_way_is_no_latency(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(ours(llm("c1")), late_s=600)
        assert ([], 1) == (world.sweep(614.9), len(world.sweep(615.1)))

    def test_a_clock_of_the_sender_that_is_wrong_is_no_latency(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(ours(llm("c1", at_s=-86_400)), late_s=86_400)
        assert ([], 1) == (world.sweep(14.9), len(world.sweep(15.1)))

    def test_latency_of_a_run_whose_spans_are_forgotten(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=900))
        world.come(ours(llm("c1")))
        world.watch.forget("t")
        world.spans.clear()
        (breach,) = world.sweep(901)
        expected = ("r", "t", "w", "what is not reported yet")
        assert expected == (
            *(breach.run_id, breach.trace_id, breach.workflow, breach.contributors[0].text),
        )


class TestRunsThatAreNotKnownYet:
    def test_what_has_the_same_parent_is_one_run(self) -> None:
        world = World(w=TOKENS)
        assert [] == world.come(llm("c1"))
        (breach,) = world.come(llm("c2"))
        assert (None, "t", "w", 120.0) == (
            *(breach.run_id, breach.trace_id, breach.workflow, breach.value),
        )

    def test_agents_under_an_unknown_parent_may_be_runs_of_their_own(self) -> None:
        world = World(w=TOKENS)
        agents = [span(Kind.AGENT, f"a{n}", "gone", workflow="w") for n in range(2)]
        assert [] == world.come(llm("c1", "a0"), llm("c2", "a1"), *agents)
        whole = span(Kind.RUN, "gone", "around", name="w", workflow="w")
        assert [(None, "tokens", 120.0)] == limits(world.come(whole))

    def test_calls_told_twice_count_once(self) -> None:
        world = World(w=TOKENS)
        outer = llm("outer", scope="one", response_id="id")
        inner = llm("inner", "outer", scope="two", response_id="id")
        assert [] == world.come(outer, inner)

    def test_an_agents_own_sum_of_its_calls_counts_once(self) -> None:
        world = World(w=TOKENS)
        agent = span(Kind.AGENT, "a", "gone", usage=Usage(60, 0), calls=0, workflow="w")
        assert [] == world.come(llm("c1", "a"), agent)

    def test_a_workflow_that_no_span_names_is_not_guessed(self) -> None:
        world = World(any=TOKENS)
        assert [] == world.come(*(llm(f"c{n}", workflow=None) for n in range(9)))
        assert 0 == world.reads

    def test_spans_before_the_first_that_names_it_count(self) -> None:
        world = World(w=TOKENS)
        world.come(llm("c1", workflow=None))
        assert [(None, "tokens", 120.0)] == limits(world.come(llm("c2")))

    def test_turns_are_not_told_before_the_root_has_come(self) -> None:
        world = World(w=WorkflowSLA(max_turns=1))
        assert [] == world.come(llm("c1"), llm("c2"), llm("c3"))

    def test_once_the_root_has_come_it_is_left_to_the_judge(self) -> None:
        world = World(w=TOKENS)
        root = span(Kind.AGENT, "gone", None, workflow="w")
        assert [] == world.come(llm("c1"), llm("c2"), root)

    def test_latency_of_what_certainly_goes_on(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(llm("c1"))
        world.come(llm("c2", at_s=3))
        assert ([], [(None, "latency", 15.1)]) == (world.sweep(15.0), limits(world.sweep(15.1)))
        world.come(llm("c3", at_s=20))
        assert [] == world.sweep(99)

    def test_no_latency_of_an_agent_that_may_be_a_run_of_its_own_and_over(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(llm("c1", "a"), span(Kind.AGENT, "a", "gone", workflow="w"))
        assert [] == world.sweep(99)

    def test_no_latency_once_the_root_has_come(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        world.come(llm("c1"))
        world.come(span(Kind.AGENT, "gone", None, workflow="w", lasts_s=3))
        assert [] == world.sweep(99)


class TestTheEnd:
    def test_every_limit(self) -> None:
        sla = WorkflowSLA(1, 10, 0.005, 0.5, 1)
        world = World(any=sla)
        spans = [
            span(Kind.AGENT, "a", None, name="w", lasts_s=4),
            llm("c1", "a", workflow=None, first_token_s=0.7),
            llm("c2", "a", workflow=None),
        ]
        (folded,) = fold(spans)
        folded.run.cost_usd = Decimal("0.02")
        found = told(world.watch.judge(folded))
        assert limits(found) == [
            ("a", "latency", 4.0),
            ("a", "tokens", 120.0),
            ("a", "cost", 0.02),
            ("a", "turns", 2.0),
            ("a", "first_token", 0.7),
        ]
        assert not any(breach.in_flight for breach in found)
        assert all(breach.contributors for breach in found)

    def test_a_workflow_without_a_level(self) -> None:
        world = World(other=TOKENS)
        (folded,) = fold([span(Kind.AGENT, "a", None, name="w"), llm("c", "a", tokens=10**6)])
        assert [] == world.watch.judge(folded)


class TestCost:
    def test_spans_are_folded_only_where_a_limit_may_be_passed(self) -> None:
        world = World(w=WorkflowSLA(max_tokens_per_request=10_000))
        for n in range(1_000):
            world.come(ours(llm(f"c{n}", tokens=9)))
        assert 1 == world.reads  # as the trace began

    def test_after_a_breach_nothing_is_folded_until_another_could_be(self) -> None:
        world = World(w=WorkflowSLA(max_tokens_per_request=100))
        found = [b for n in range(1_000) for b in world.come(ours(llm(f"c{n}", tokens=10)))]
        assert 1_000 // 10 + 1 >= len(found)
        assert 200 > world.reads

    def test_traces_that_are_followed_are_bounded(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(level_watch, "MAX_FLIGHTS", 10)
        world = World(w=WorkflowSLA(max_latency_seconds=15))
        for n in range(100):
            world.come(ours(llm("c", trace_id=f"t{n}"), f"r{n}"))
        assert 10 == len(world.watch._flights)
        assert 10 == len(world.sweep(99))

    def test_deadlines_of_runs_that_are_over_take_no_room(self) -> None:
        world = World(w=WorkflowSLA(max_latency_seconds=86_400))
        world.come(ours(llm("kept", trace_id="kept"), "kept"))
        for n in range(5_000):
            run_id, trace_id = f"r{n}", f"t{n}"
            ended = msgspec.structs.replace(report(run_id), trace_id=trace_id)
            world.come(ours(llm("c", trace_id=trace_id), run_id), ended)
            world.watch.forget(trace_id)
        assert 3_000 > len(world.watch._deadlines)
        assert [("kept", "latency")] == [(b.run_id, b.limit) for b in world.sweep(90_000)]

    def test_traces_that_are_over_are_forgotten(self) -> None:
        world = World(w=TOKENS)
        world.come(llm("c1"))
        world.watch.forget("t")
        assert {} == world.watch._flights


@st.composite
def traces(draw: Any) -> list[Span]:
    """Any tree of a workflow's spans, some of them named, and the order in which they come."""
    spans: list[Span] = []
    told: set[int] = set()
    frames = [Kind.RUN, Kind.AGENT, Kind.STEP, Kind.TOOL, Kind.OTHER]
    kinds = st.sampled_from([*frames, *[Kind.LLM] * 5])
    for number in range(draw(st.integers(4, 16))):
        parent = draw(st.integers(-1, number - 1)) if number else -1
        kind = draw(kinds)
        # Inside of a call is at most one other: the same, as another library tells of it.
        while (
            parent >= 0 and spans[parent].kind is Kind.LLM and (kind not in CALLS or parent in told)
        ):
            parent = int(spans[parent].parent_id or -1)
        told.add(parent)
        has_usage = kind is Kind.LLM or (kind is Kind.AGENT and draw(st.booleans()))
        in_call = parent >= 0 and spans[parent].kind is Kind.LLM
        first_token = st.sampled_from([None, 0.5, 3.0])
        spans.append(
            span(
                kind,
                str(number),
                str(parent) if parent >= 0 else None,
                name="w" if kind in (Kind.RUN, Kind.AGENT) else f"n{number}",
                at_s=number,
                lasts_s=20 - number,
                usage=Usage(draw(st.integers(25, 60)), 0) if has_usage else None,
                calls=1 if kind is Kind.LLM else 0,
                workflow="w" if draw(st.booleans()) else None,
                # Two that tell of the same call agree about the wait: only the outer tells here.
                first_token_s=draw(first_token) if kind is Kind.LLM and not in_call else None,
            )
        )
    random.Random(draw(st.integers(0, 1000))).shuffle(spans)
    return spans


@settings(max_examples=500)
@given(traces())
def test_what_is_told_in_flight_is_true_in_the_end(spans: list[Span]) -> None:
    sla = WorkflowSLA(
        max_tokens_per_request=70, max_first_token_seconds=2, max_cost_per_request=0.015
    )
    world = World(w=sla)
    found = []
    for one in spans:
        world.spans.setdefault("t", {})[one.span_id] = one
        found += world.watch.take([one], one.ended_ns - NOON_NS)
    runs = fold(spans)
    for one_found in found:
        breach = one_found.breach
        (whole,) = [run for run in runs if one_found.span_ids & {p.span.span_id for p in run.spans}]
        values = world.watch._values(PartOfRun(whole.run, whole.spans, is_identified=True), sla)
        value = values[breach.limit]
        assert value is not None
        assert value >= breach.value - 1e-9
