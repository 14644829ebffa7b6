"""What the real SDK does -> what Tocsin counts: one row per row of the SDK's known behaviour."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from agents.usage import Usage as SdkUsage
from openai import AsyncOpenAI

from tests.e2e import scenarios as s
from tests.e2e.scenarios import Scenario, call, tool_then_answer
from tests.e2e.setup import Setup
from tests.fakes.counts import Counts, Page
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import (
    Behaviour,
    BreakStream,
    Drop,
    Failure,
    FakeLLM,
    Hang,
    Latency,
    StreamFailure,
    Text,
    ToolCall,
    ToolCalls,
    answer,
    fail_first,
    script,
)

ONE_CALL = Decimal("0.00052")
"""gpt-4o: 120 input of which 64 cached, 30 output, at 2.50, 1.25 and 10 dollars a million."""
DETAILS = {"cache_read": 64, "reasoning": 10}


def calls(count: int, **more: Any) -> Counts:
    """Counts of an ordinary run of so many priced gpt-4o calls."""
    usual: dict[str, Any] = {
        "outcomes": {"ok": 1},
        "calls": count,
        "tokens": (120 * count, 30 * count),
        "details": {name: each * count for name, each in DETAILS.items() if count},
        "cost": (ONE_CALL * count).normalize(),
        "turns": count,
        "models": ("gpt-4o",) if count else (),
    }
    return Counts(**(usual | more))


@dataclass(frozen=True, slots=True)
class Row:
    """A program, how the model behaves, and what must be counted.

    spans_only: where the spans alone tell less than the watched runner and models do.
    """

    scenario: Scenario
    model: Behaviour
    expected: Counts
    spans_only: Counts | None = None
    timeout_s: float = 5.0
    client_retries: int = 0


def failed(error: str, **more: Any) -> Counts:
    """Counts of a run whose only call failed."""
    usual = {"outcomes": {"error": 1}, "calls": 1, "errors": {error: 1}, "turns": 1}
    return calls(0, **(usual | {"models": ("gpt-4o",)} | more))


def unnamed(counts: Counts) -> Counts:
    """The same where no span says which model was called."""
    return replace(counts, models=("unknown",))


def failure_row(error: str, model: Behaviour, **options: Any) -> Row:
    expected = failed(error)
    return Row(s.plain_responses, model, expected, spans_only=unnamed(expected), **options)


CUT_OFF = failed("cancelled", outcomes={"cancelled": 1}, usage_missing=1)
WAITS = Hang(20)
GUARD = calls(1, checks=1)

ROWS = {
    "plain responses": Row(s.plain_responses, answer("ok"), calls(1)),
    "plain chat": Row(s.plain_chat, answer("ok"), calls(1)),
    "streamed responses": Row(
        s.streamed_responses, answer("ok"), calls(1, first_tokens=1), spans_only=calls(1)
    ),
    "streamed responses, sensitive data off": Row(
        s.streamed_responses_redacted,
        answer("ok"),
        calls(1, first_tokens=1),
        # Without a response on the span its tokens are known and its model is not.
        spans_only=calls(1, models=("unknown",), cost=Decimal(0), unpriced=150),
    ),
    "streamed chat does not report usage": Row(
        s.streamed_chat,
        answer("ok"),
        calls(1, tokens=(0, 0), details={}, cost=Decimal(0), usage_missing=1, first_tokens=1),
        spans_only=calls(1, tokens=(0, 0), details={}, cost=Decimal(0), usage_missing=1),
    ),
    "streamed chat with include_usage": Row(
        s.streamed_chat_with_usage,
        answer("ok"),
        calls(1, first_tokens=1),
        spans_only=calls(1),
    ),
    "response without usage is not free": Row(
        s.plain_responses,
        lambda _: Text("ok", usage=None),
        calls(1, tokens=(0, 0), details={}, cost=Decimal(0), usage_missing=1),
    ),
    "tool works": Row(s.using(s.lookup), tool_then_answer("lookup"), calls(2, tools=1)),
    "tool raises, default handler": Row(
        s.using(s.broken), tool_then_answer("broken"), calls(2, tools=1, tool_errors=1)
    ),
    "tool raises, no handler": Row(
        s.using(s.crashing),
        tool_then_answer("crashing"),
        calls(1, outcomes={"error": 1}, tools=1, tool_errors=1),
    ),
    "tool times out": Row(
        s.using(s.slow), tool_then_answer("slow"), calls(2, tools=1, tool_errors=1)
    ),
    "mcp tool fails": Row(
        s.failing_mcp_tool, tool_then_answer("query"), calls(2, tools=1, tool_errors=1)
    ),
    "tool called again after it failed": Row(
        s.using(s.broken),
        script([call("broken", key="a"), call("broken", key="b"), Text("done")]),
        calls(3, tools=2, tool_errors=2, tool_retries=1),
    ),
    "tool called again with the same arguments": Row(
        s.using(s.lookup),
        script([call("lookup", key="a"), call("lookup", key="a"), Text("done")]),
        calls(3, tools=2, tool_retries=1),
    ),
    "tool called again with other arguments": Row(
        s.using(s.lookup),
        script([call("lookup", key="a"), call("lookup", key="b"), Text("done")]),
        calls(3, tools=2),
    ),
    "parallel tools": Row(
        s.using(s.lookup),
        script([ToolCalls(tuple(ToolCall("lookup", {"key": key}) for key in "abc")), Text("done")]),
        calls(2, tools=3),
    ),
    "rate limit": failure_row("rate_limit", lambda _: Failure(429)),
    "server error": failure_row("server_error", lambda _: Failure(500)),
    "bad key": failure_row("auth", lambda _: Failure(401)),
    "bad request": failure_row("bad_request", lambda _: Failure(400)),
    "context too long": failure_row(
        "context_length", lambda _: Failure(400, code="context_length_exceeded")
    ),
    "content filter": failure_row("content_filter", lambda _: Failure(400, code="content_filter")),
    "timeout": failure_row("timeout", lambda _: WAITS, timeout_s=0.3),
    "connection dropped": failure_row("connection", lambda _: Drop()),
    "chat rate limit": Row(s.plain_chat, lambda _: Failure(429), failed("rate_limit")),
    "stream breaks": Row(
        s.streamed_responses,
        lambda _: BreakStream(after_chunks=2),
        failed("connection", first_tokens=1),
        spans_only=unnamed(failed("connection")),
    ),
    "stream reports a failure": Row(
        s.streamed_responses,
        lambda _: StreamFailure(after_chunks=1),
        failed("server_error", first_tokens=1),
        spans_only=unnamed(failed("server_error")),
    ),
    "client retries are invisible": Row(
        s.plain_responses,
        fail_first(2, Failure(429, retry_after_s=0.01), answer("ok")),
        calls(1),
        client_retries=3,
    ),
    "sdk retries are calls of their own": Row(
        s.sdk_retry,
        fail_first(1, Failure(500, retry_after_s=0.01), answer("ok")),
        calls(1, calls=2, errors={"server_error": 1}),
        spans_only=calls(1, calls=2, errors={"server_error": 1}, models=("gpt-4o", "unknown")),
    ),
    "max turns": Row(
        s.endless,
        lambda request: call("lookup", key=str(request.step)),
        calls(2, outcomes={"max_turns": 1}, tools=2),
    ),
    "max turns, rescued by a handler": Row(
        s.endless_rescued,
        lambda request: call("lookup", key=str(request.step)),
        calls(2, outcomes={"max_turns": 1}, tools=2),
    ),
    "max turns, streamed": Row(
        s.endless_streamed,
        lambda request: call("lookup", key=str(request.step)),
        calls(2, outcomes={"max_turns": 1}, tools=2, first_tokens=2),
        spans_only=calls(2, outcomes={"max_turns": 1}, tools=2),
    ),
    "guardrails pass": Row(
        s.guarded(inputs=False, outputs=False), answer("ok"), calls(1, checks=2)
    ),
    "output guardrail trips": Row(
        s.guarded(inputs=None, outputs=True),
        answer("ok"),
        calls(1, outcomes={"guardrail": 1}, checks=1, triggered=1),
    ),
    "output guardrail trips, streamed": Row(
        s.guarded(inputs=None, outputs=True, streamed=True),
        answer("ok"),
        calls(1, outcomes={"guardrail": 1}, checks=1, triggered=1, first_tokens=1),
        spans_only=calls(1, outcomes={"guardrail": 1}, checks=1, triggered=1),
    ),
    "input guardrail trips before the model is called": Row(
        s.guarded_before,
        answer("not called"),
        calls(0, outcomes={"guardrail": 1}, checks=1, triggered=1, turns=1),
    ),
    "input guardrail trips beside the model": Row(
        s.guarded(inputs=True, outputs=None),
        lambda _: WAITS,
        replace(CUT_OFF, outcomes={"guardrail": 1}, checks=1, triggered=1),
        spans_only=unnamed(replace(CUT_OFF, outcomes={"guardrail": 1}, checks=1, triggered=1)),
    ),
    "input guardrail trips beside the model, streamed": Row(
        s.guarded(inputs=True, outputs=None, streamed=True),
        lambda _: Text("ok", latency=Latency(first_token_s=0.3)),
        # The SDK lets a streamed call go on to its end, and its tokens are paid for.
        calls(1, outcomes={"guardrail": 1}, checks=1, triggered=1, first_tokens=1),
        spans_only=calls(1, outcomes={"guardrail": 1}, checks=1, triggered=1),
    ),
    "two runs in a trace": Row(s.two_runs_in_a_trace, answer("ok"), calls(2, outcomes={"ok": 2})),
    "two runs in a trace at once": Row(
        s.two_runs_in_a_trace_at_once,
        tool_then_answer("lookup"),
        calls(4, outcomes={"ok": 2}, tools=2),
    ),
    "handoff without task spans": Row(
        s.without_task_spans(s.old_handoff),
        script([call("transfer_to_billing"), Text("done")]),
        calls(2, handoffs=1),
    ),
    "two runs in a trace without task spans": Row(
        s.without_task_spans(s.old_two_runs),
        answer("ok"),
        calls(2, outcomes={"ok": 2}),
        # Nothing but the runner tells where one ends and the next begins.
        spans_only=calls(2, outcomes={"ok": 1}),
    ),
    "failure without task spans": Row(
        s.without_task_spans(s.old_failure),
        lambda _: Failure(429),
        failed("rate_limit"),
        spans_only=unnamed(failed("rate_limit")),
    ),
    "tracing disabled": Row(s.untraced, answer("ok"), Counts(), spans_only=Counts()),
    "unknown tool": Row(
        s.using(s.lookup), tool_then_answer("nothing"), calls(1, outcomes={"error": 1})
    ),
    "structured output is invalid": Row(
        s.structured, answer("not json"), calls(1, outcomes={"error": 1})
    ),
    "wait_for runs out": Row(
        s.cancelled_by_wait_for, lambda _: WAITS, CUT_OFF, spans_only=unnamed(CUT_OFF)
    ),
    "task cancelled": Row(s.cancelled_task, lambda _: WAITS, CUT_OFF),
    "stream cancelled": Row(
        s.cancelled_stream, lambda _: WAITS, CUT_OFF, spans_only=unnamed(CUT_OFF)
    ),
    "cancelled in a tool": Row(
        s.cancelled_in_tool,
        script([call("forever"), Text("done")]),
        calls(1, outcomes={"cancelled": 1}, tools=1),
    ),
    "consumer leaves the stream": Row(
        s.abandoned_stream,
        tool_then_answer("lookup"),
        calls(2, tools=1, first_tokens=2),
        spans_only=calls(2, tools=1),
    ),
    "handoff": Row(
        s.handing_off, script([call("transfer_to_billing"), Text("done")]), calls(2, handoffs=1)
    ),
    "handoff raises": Row(
        s.handing_off_and_failing,
        script([call("transfer_to_billing"), Text("done")]),
        calls(1, outcomes={"error": 1}, handoffs=1, handoff_errors=1),
    ),
    "two handoffs at once": Row(
        s.handing_off_to_two,
        script(
            [
                ToolCalls((ToolCall("transfer_to_billing"), ToolCall("transfer_to_sales"))),
                Text("done"),
            ]
        ),
        calls(2, handoffs=1, handoff_errors=1),
    ),
    "agent as tool": Row(
        s.agent_as_tool,
        lambda request: (
            Text("inside")
            if request.instructions == "inner"
            else script([call("ask_inner", input="?"), Text("done")])(request)
        ),
        # One run of three calls, two of its own turns.
        calls(3, turns=2, tools=1),
    ),
    "failing agent as tool fails only the tool": Row(
        s.agent_as_tool,
        lambda request: (
            Failure(500)
            if request.instructions == "inner"
            else script([call("ask_inner", input="?"), Text("done")])(request)
        ),
        calls(2, calls=3, errors={"server_error": 1}, tools=1, tool_errors=1),
        spans_only=calls(
            2,
            calls=3,
            errors={"server_error": 1},
            tools=1,
            tool_errors=1,
            models=("gpt-4o", "unknown"),
        ),
    ),
    "approval in between": Row(
        s.approval,
        tool_then_answer("refund"),
        # Two runs: one that paused, and its resumption.
        calls(2, outcomes={"ok": 2}, tools=2),
    ),
    "approval refused is no tool failure": Row(
        s.rejection, tool_then_answer("refund"), calls(2, outcomes={"ok": 2}, tools=1)
    ),
    "call left behind": Row(
        s.detached,
        lambda request: (
            Text("later", latency=Latency(first_token_s=0.4))
            if request.user == "later"
            else script([call("leave"), Text("done")])(request)
        ),
        calls(3, turns=2, tools=1),
    ),
    "own model, tokens only in the rollup": Row(
        s.own_model(SdkUsage(requests=1, input_tokens=70, output_tokens=30, total_tokens=100)),
        answer("not called"),
        calls(0, turns=1, tokens=(70, 30), unpriced=100),
    ),
    "own model without usage": Row(
        s.own_model(SdkUsage(requests=1)),
        answer("not called"),
        calls(0, turns=1, usage_missing=1),
    ),
}


def run_watched(row: Row, watcher: Watcher, llm: FakeLLM) -> Counts:
    """Run a row's program, whatever it raises, and read what was counted."""
    llm.set(None, row.model)
    client = AsyncOpenAI(
        base_url=llm.base_url,
        api_key="x",
        max_retries=row.client_retries,
        timeout=row.timeout_s,
    )

    async def main() -> None:
        async with client:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await row.scenario(Setup(client))

    asyncio.run(main())
    assert watcher.flush()
    assert watcher.pipeline.tracker.open_runs == []
    page = Page(watcher.families())
    assert page.total("tocsin_internal_errors_total") == 0
    assert page.total("tocsin_malformed_events_total") == 0
    assert page.total("agent_active_workflows") == 0
    return page.counts()


@pytest.mark.parametrize("name", ROWS)
def test_watched_runner_and_spans(name: str, watch: Callable[..., Watcher], llm: FakeLLM) -> None:
    assert ROWS[name].expected == run_watched(ROWS[name], watch(), llm)


@pytest.mark.parametrize("name", ROWS)
def test_spans_alone(name: str, watch: Callable[..., Watcher], llm: FakeLLM) -> None:
    row = ROWS[name]
    expected = row.spans_only or row.expected
    assert expected == run_watched(row, watch(watch_runner=False), llm)
