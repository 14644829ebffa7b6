"""Spans of one trace, in any order, become runs: who belongs where, what counts, how it ended."""

import gc
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.run import Outcome, Run
from tocsin.model.span import ErrorClass, Kind, Span, Usage
from tocsin.runs.fold import FoldedRun, fold

USAGE = Usage(120, 30)
SDK = "opentelemetry.instrumentation.openai_agents"


def span(span_id: str, kind: Kind = Kind.OTHER, parent: str | None = None, **fields: Any) -> Span:
    """A span named after its id; `at` is the second it began, `took` how many it lasted."""
    at, took = fields.pop("at", 0), fields.pop("took", 1)
    given: dict[str, Any] = {"name": span_id, "calls": int(kind in (Kind.LLM, Kind.EMBEDDING))}
    return Span(
        trace_id="t",
        span_id=span_id,
        parent_id=parent,
        kind=kind,
        started_ns=int(at * 1e9),
        ended_ns=int((at + took) * 1e9),
        **given | fields,
    )


def llm(span_id: str, parent: str | None = None, **fields: Any) -> Span:
    given: dict[str, Any] = {"usage": USAGE, "model": "m"}
    return span(span_id, Kind.LLM, parent, **given | fields)


def only(spans: Sequence[Span]) -> FoldedRun:
    (folded,) = fold(spans)
    return folded


def ids(folded: FoldedRun) -> list[str]:
    return [placed.span.span_id for placed in folded.spans]


def counted(spans: Sequence[Span]) -> set[str]:
    return {p.span.span_id for folded in fold(spans) for p in folded.spans if p.counted}


def totals(run: Run) -> tuple[int, int, int, int]:
    return run.llm_calls, run.input_tokens, run.output_tokens, run.usage_missing


class TestMembership:
    def test_a_workflow_is_a_run(self) -> None:
        spans = [
            span("flow", Kind.RUN, at=0, took=9, workflow="Support flow", conversation_id="c"),
            span("agent", Kind.AGENT, "flow", at=1),
            llm("call", "agent", at=2),
            span("tool", Kind.TOOL, "agent", at=3),
            span("hand", Kind.HANDOFF, "agent", at=4),
        ]
        run = only(spans).run
        assert ("flow", "t", "Support flow", "c") == (
            *(run.run_id, run.trace_id),
            *(run.workflow, run.conversation_id),
        )
        assert (0, 9 * 10**9, 9.0) == (run.started_ns, run.ended_ns, run.duration_s)
        assert ((1, 120, 30, 0), 1, 1, 1) == (
            *(totals(run), run.tool_calls),
            *(run.handoffs, run.turns),
        )

    def test_without_a_workflow_the_highest_agent_is(self) -> None:
        spans = [
            span("http"),
            span("one", Kind.AGENT, "http", at=1),
            llm("call", "one", at=2),
            span("two", Kind.AGENT, "http", at=3),
            span("inner", Kind.AGENT, "two", at=4),
        ]
        assert [["one", "call"], ["two", "inner"]] == [ids(folded) for folded in fold(spans)]

    def test_steps_around_agents_are_one_run(self) -> None:
        spans = [
            span("crew", Kind.STEP, workflow=None),
            span("one", Kind.AGENT, "crew", at=1),
            span("two", Kind.AGENT, "crew", at=2),
        ]
        assert ["crew", "one", "two"] == ids(only(spans))
        assert "crew" == only(spans).run.workflow

    def test_steps_around_workflows_are_not(self) -> None:
        spans = [
            span("trace", Kind.STEP, conversation_id="c"),
            span("first", Kind.RUN, "trace", at=1),
            span("second", Kind.RUN, "trace", at=2),
        ]
        assert [("first", "c"), ("second", "c")] == [
            (folded.run.run_id, folded.run.conversation_id) for folded in fold(spans)
        ]

    def test_an_agent_around_its_own_workflow_is_the_run(self) -> None:
        spans = [span("agent", Kind.AGENT), span("flow", Kind.RUN, "agent", workflow="w")]
        assert ("agent", "w") == (only(spans).run.run_id, only(spans).run.workflow)

    def test_one_workflow_in_another_belongs_to_the_outer(self) -> None:
        spans = [
            span("outer", Kind.RUN),
            span("tool", Kind.TOOL, "outer", at=1),
            span("inner", Kind.RUN, "tool", at=2),
            llm("call", "inner", at=3),
        ]
        assert ["outer", "tool", "inner", "call"] == ids(only(spans))
        assert 0 == only(spans).run.turns

    def test_a_bare_call_is_a_run(self) -> None:
        assert ("call", (1, 120, 30, 0)) == (
            only([llm("call")]).run.workflow,
            totals(only([llm("call")]).run),
        )

    def test_calls_of_one_request_are_one_run(self) -> None:
        spans = [span("GET /"), llm("a", "GET /", at=1), llm("b", "GET /", at=2)]
        assert ["GET /", "a", "b"] == ids(only(spans))

    def test_a_span_whose_parent_is_missing_is_a_root(self) -> None:
        folded = only([span("agent", Kind.AGENT, "elsewhere"), llm("call", "agent", at=1)])
        assert (["agent", "call"], "agent") == (ids(folded), folded.root.span_id)

    @pytest.mark.parametrize(
        "spans",
        [
            [],
            [span("GET /"), span("db", parent="GET /")],
            [span("create_agent"), span("build")],
        ],
    )
    def test_traces_without_agents_make_no_run(self, spans: list[Span]) -> None:
        assert [] == fold(spans)

    def test_a_workflow_that_called_nothing_is_a_run(self) -> None:
        spans = [span("graph", Kind.STEP), span("node", Kind.STEP, "graph", at=1)]
        assert ["graph", "node"] == ids(only(spans))

    def test_circles_of_parents_end(self) -> None:
        spans = [
            span("a", Kind.AGENT, "b", at=1),
            span("b", Kind.AGENT, "a", at=2),
            llm("c", "c", at=3),
            span("d", Kind.AGENT),
        ]
        assert [["d"], ["a", "b"], ["c"]] == [ids(folded) for folded in fold(spans)]

    def test_what_is_below_a_circle_stays_below_it(self) -> None:
        spans = [
            llm("early", "b"),
            span("b", Kind.AGENT, "a", at=2),
            span("c", Kind.AGENT, "b", at=3),
            span("a", Kind.AGENT, "c", at=1),
        ]
        assert [["early", "a", "b", "c"]] == [ids(folded) for folded in fold(spans)]

    def test_nothing_is_left_to_the_garbage_collector(self) -> None:
        spans = [span("flow", Kind.RUN), span("a", Kind.AGENT, "flow"), llm("one", "a")]
        gc.collect()
        gc.disable()
        try:
            fold(spans)
            assert 0 == gc.collect()
        finally:
            gc.enable()

    @given(st.randoms(use_true_random=False))
    def test_order_and_repetition_do_not_matter(self, chance: random.Random) -> None:
        spans = [
            span("flow", Kind.RUN, took=9),
            span("a", Kind.AGENT, "flow", at=1, took=2),
            llm("one", "a", at=1),
            span("tool", Kind.TOOL, "a", at=2, error=ErrorClass.OTHER),
            span("b", Kind.AGENT, "flow", at=4, took=3),
            llm("two", "b", at=5, usage=None),
            span("other", Kind.AGENT, "missing", at=6),
        ]
        shuffled = spans + chance.choices(spans, k=5)
        chance.shuffle(shuffled)
        assert repr(fold(spans)) == repr(fold(shuffled))

    def test_large_traces_take_linear_time(self) -> None:
        depth = [span(f"d{n}", Kind.STEP, f"d{n - 1}" if n else None) for n in range(5_000)]
        calls = [llm(f"c{n}", "d4999", at=n) for n in range(5_000)]
        runs = [span(f"r{n}", Kind.RUN, "d4999", at=n) for n in range(2_000)]
        assert 2_001 == len(fold(depth + calls + runs))


class TestCounting:
    def test_agents_do_not_repeat_their_calls_tokens(self) -> None:
        spans = [
            span("agent", Kind.AGENT, usage=Usage(240, 60)),
            llm("one", "agent", at=1),
            llm("two", "agent", at=2),
        ]
        assert (2, 240, 60, 0) == totals(only(spans).run)
        assert {"one", "two"} == counted(spans)

    def test_an_agent_without_calls_brings_its_own(self) -> None:
        spans = [
            span("task", Kind.STEP, usage=Usage(240, 60)),
            span("agent", Kind.AGENT, "task", at=1, usage=Usage(240, 60)),
        ]
        folded = only(spans)
        assert (0, 240, 60, 0) == totals(folded.run)
        assert {"agent"} == counted(spans)
        shown = [(p.span.span_id, p.span.kind, p.counted) for p in folded.spans]
        assert [
            ("task", Kind.STEP, False),
            ("agent", Kind.AGENT, False),
            ("agent", Kind.LLM, True),
        ] == shown

    def test_embeddings_cover_what_is_around_them(self) -> None:
        spans = [
            span("ai.embed", Kind.AGENT, usage=Usage(9, 0)),
            span("doEmbed", Kind.EMBEDDING, "ai.embed", usage=Usage(9, 0)),
        ]
        assert (1, 9, 0, 0) == totals(only(spans).run)

    def test_a_call_in_a_call_is_the_same(self) -> None:
        spans = [llm("outer", took=3), span("http", parent="outer"), llm("inner", "http", at=1)]
        assert {"outer"} == counted(spans)

    def test_the_inner_call_counts_where_only_it_knows_the_tokens(self) -> None:
        spans = [
            llm("outer", usage=None),
            llm("middle", "outer", usage=None),
            llm("inner", "middle"),
            llm("lost", "outer", usage=None),
        ]
        assert {"inner"} == counted(spans)

    def test_a_failed_outer_call_counts_itself(self) -> None:
        spans = [llm("outer", usage=None, error=ErrorClass.TIMEOUT), llm("inner", "outer")]
        assert {"outer"} == counted(spans)

    @pytest.mark.parametrize("between", [Kind.TOOL, Kind.AGENT, Kind.RUN])
    def test_a_call_by_a_tool_or_agent_in_a_call_is_another(self, between: Kind) -> None:
        spans = [llm("outer"), span("x", between, "outer"), llm("inner", "x")]
        assert {"outer", "inner"} <= counted(spans)

    def test_calls_with_the_same_answer_are_the_same(self) -> None:
        spans = [
            span("agent", Kind.AGENT),
            llm("silent", "agent", at=1, response_id="r1", usage=None),
            llm("telling", "agent", at=2, response_id="r1"),
            llm("other", "agent", at=3, response_id="r2"),
        ]
        assert {"telling", "other"} == counted(spans)

    def test_siblings_of_two_instrumentations_are_the_same(self) -> None:
        inner = "com.anthropic"
        spans = [
            span("agent", Kind.AGENT, took=9),
            llm("outer", "agent", at=1, took=3, scope="openinference"),
            llm("inner", "agent", at=2, scope=inner, response_id="r"),
        ]
        assert {"inner"} == counted(spans)

    def test_a_tool_in_a_tool_of_the_same_name_is_the_same(self) -> None:
        spans = [
            span("a", Kind.AGENT),
            span("outer", Kind.TOOL, "a", name="search"),
            span("mcp", parent="outer"),
            span("same", Kind.TOOL, "mcp", name="search"),
            span("other", Kind.TOOL, "outer", name="fetch"),
        ]
        assert {"outer", "other"} == counted(spans)

    def test_missing_usage_is_counted_for_successes_only(self) -> None:
        spans = [
            span("agent", Kind.AGENT),
            llm("silent", "agent", at=1, usage=None),
            llm("failed", "agent", at=2, usage=None, error=ErrorClass.RATE_LIMIT),
        ]
        assert (2, 0, 0, 1) == totals(only(spans).run)


class TestRetries:
    def retried(self, spans: Sequence[Span]) -> set[str]:
        return {p.span.span_id for folded in fold(spans) for p in folded.spans if p.retry}

    def test_a_call_beside_one_that_failed(self) -> None:
        spans = [
            span("agent", Kind.AGENT),
            llm("first", "agent", at=1, usage=None, error=ErrorClass.RATE_LIMIT),
            llm("parallel", "agent", at=1.5),
            llm("second", "agent", at=3, usage=None, error=ErrorClass.RATE_LIMIT),
            llm("elsewhere", None, at=4),
        ]
        assert {"second"} == self.retried([*spans[:2], *spans[3:]])

    def test_another_model_is_a_fallback(self) -> None:
        spans = [
            span("agent", Kind.AGENT),
            llm("first", "agent", at=1, error=ErrorClass.RATE_LIMIT),
            llm("second", "agent", at=3, model="other"),
        ]
        assert set() == self.retried(spans)

    def test_a_tool_after_it_failed_or_what_the_source_says(self) -> None:
        spans = [
            span("agent", Kind.AGENT),
            span("t1", Kind.TOOL, "agent", name="t", at=1, error=ErrorClass.OTHER),
            span("t2", Kind.TOOL, "agent", name="t", at=3),
            llm("again", "agent", at=5, is_retry=True),
        ]
        assert {"t2", "again"} == self.retried(spans)


class TestHandoffsAndGuardrails:
    def test_ends_are_filled_in_from_the_agents(self) -> None:
        spans = [
            span("flow", Kind.RUN, took=9),
            span("a", Kind.AGENT, "flow", name="triage", at=1),
            span("hand", Kind.HANDOFF, "a", at=2),
            span("b", Kind.AGENT, "flow", name="billing", at=3),
        ]
        (hand,) = (p.span for p in only(spans).spans if p.span.kind is Kind.HANDOFF)
        assert ("triage", "billing") == (hand.from_agent, hand.to_agent)

    def test_what_is_not_known_is_unknown(self) -> None:
        (placed,) = only([span("hand", Kind.HANDOFF)]).spans
        assert ("unknown", "unknown") == (placed.span.from_agent, placed.span.to_agent)

    def test_a_guardrail_that_its_turn_names_has_tripped(self) -> None:
        tripped = {"outcome": Outcome.GUARDRAIL, "error": ErrorClass.OTHER}
        spans = [
            span("turn", Kind.STEP, attributes={"guardrail": "block"}, **tripped),
            span("g1", Kind.GUARDRAIL, "turn", name="block"),
            span("g2", Kind.GUARDRAIL, "turn", name="pass"),
        ]
        found = {p.span.name: p.span.triggered for p in only(spans).spans}
        assert (True, False) == (found["block"], found["pass"])


FAILED: dict[str, Any] = {"error": ErrorClass.OTHER, "outcome": Outcome.ERROR}


class TestOutcome:
    def outcome(self, *inside: Span, **root: Any) -> Outcome | None:
        given: dict[str, Any] = {"took": 20}
        return only([span("root", Kind.RUN, **given | root), *inside]).run.outcome

    def test_ok(self) -> None:
        assert Outcome.OK == self.outcome(llm("call", "root", at=1))

    def test_the_root_says_it(self) -> None:
        assert Outcome.ERROR == self.outcome(**FAILED)
        assert Outcome.MAX_TURNS == self.outcome(**FAILED | {"outcome": Outcome.MAX_TURNS})

    @pytest.mark.parametrize("kind", [Kind.AGENT, Kind.STEP])
    def test_an_agent_or_turn_says_it_and_the_root_does_not(self, kind: Kind) -> None:
        assert Outcome.ERROR == self.outcome(span("x", kind, "root", at=1, **FAILED))

    def test_a_failure_that_work_came_after_was_dealt_with(self) -> None:
        failed = span("first", Kind.AGENT, "root", at=1, **FAILED)
        assert Outcome.OK == self.outcome(failed, span("second", Kind.AGENT, "root", at=5))

    def test_a_tools_error_is_no_failed_run(self) -> None:
        tool = span("tool", Kind.TOOL, "root", at=1, error=ErrorClass.OTHER)
        inside = span("agent", Kind.AGENT, "tool", at=1, **FAILED)
        assert Outcome.OK == self.outcome(tool, inside)

    def test_a_failed_call_that_nothing_came_after_was_fatal(self) -> None:
        failed = llm("call", "root", at=1, usage=None, error=ErrorClass.RATE_LIMIT)
        assert Outcome.ERROR == self.outcome(failed)
        assert Outcome.OK == self.outcome(failed, llm("again", "root", at=5))

    def test_a_bare_call_fails_with_its_error(self) -> None:
        failed = llm("call", usage=None, error=ErrorClass.TIMEOUT)
        assert Outcome.ERROR == only([failed]).run.outcome

    def test_cancelled(self) -> None:
        cancelled = {"error": ErrorClass.CANCELLED, "outcome": Outcome.CANCELLED}
        assert Outcome.CANCELLED == self.outcome(llm("c", "root", at=1, usage=None, **cancelled))

    def test_a_tripped_guardrail_outranks_the_failure_it_causes(self) -> None:
        tripped = span("g", Kind.GUARDRAIL, "root", at=1, triggered=True)
        assert Outcome.GUARDRAIL == self.outcome(tripped, **FAILED)

    def test_a_guardrail_that_tripped_and_let_pass_is_fine(self) -> None:
        tripped = span("g", Kind.GUARDRAIL, "root", at=1, triggered=True)
        assert Outcome.OK == self.outcome(tripped, llm("call", "root", at=5))

    def test_the_sdks_agent_that_asked_no_model_was_stopped_by_a_guardrail(self) -> None:
        agent = span("agent", Kind.AGENT, "root", at=1, scope=SDK)
        assert Outcome.GUARDRAIL == self.outcome(agent)
        assert Outcome.OK == self.outcome(span("agent", Kind.AGENT, "root", at=1))

    def test_the_sdks_run_that_ends_on_a_tool_request_broke_off(self) -> None:
        agent = span("agent", Kind.AGENT, "root", at=1, scope=SDK)
        asked = llm("call", "agent", at=2, finish_reason="tool_calls")
        tool = span("tool", Kind.TOOL, "agent", at=4)
        assert Outcome.ERROR == self.outcome(agent, asked)
        assert Outcome.OK == self.outcome(agent, asked, tool)


def test_a_trace_as_deep_as_it_is_long_is_folded() -> None:
    depth = 20_000
    agents = [span("s0", Kind.AGENT, usage=USAGE)]
    agents += [span(f"s{n}", Kind.AGENT, f"s{n - 1}", usage=USAGE) for n in range(1, depth)]
    folded = only(agents)
    assert (depth + 1, 0, 120) == (len(folded.spans), *totals(folded.run)[:2])
