"""Every metric, declared once: name, type, labels, buckets, help."""

from enum import StrEnum
from typing import Final

import msgspec

__all__ = ["CATALOGUE", "Metric", "MetricType"]


class MetricType(StrEnum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True, eq=False):
    """A metric's declaration. Compared by identity: each is declared once, below."""

    name: str
    type: MetricType
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds, ascending, without +Inf."""
    merge: str = "sum"
    """How several processes' gauges become one: sum, max or oldest (the least above 0)."""


CATALOGUE: Final[list[Metric]] = []


def _declare(metric: Metric) -> Metric:
    CATALOGUE.append(metric)
    return metric


def _counter(name: str, labels: str, text: str) -> Metric:
    return _declare(Metric(name, MetricType.COUNTER, tuple(labels.split()), text))


def _gauge(name: str, labels: str, text: str, merge: str = "sum") -> Metric:
    return _declare(Metric(name, MetricType.GAUGE, tuple(labels.split()), text, (), merge))


def _histogram(name: str, labels: str, text: str, buckets: tuple[float, ...]) -> Metric:
    return _declare(Metric(name, MetricType.HISTOGRAM, tuple(labels.split()), text, buckets))


RUN_DURATION = _histogram(
    "agent_workflow_duration_seconds",
    "workflow",
    "Duration of finished runs.",
    (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800),
)
RUNS = _counter("agent_workflow_runs_total", "workflow outcome", "Finished runs by outcome.")
ACTIVE_RUNS = _gauge("agent_active_workflows", "workflow", "Runs that are going on.")
OLDEST_RUN = _gauge(
    "agent_oldest_active_run_start_timestamp_seconds",
    "workflow",
    "Start of the run that has been going on longest; 0 when there is none.",
    "oldest",
)
RUN_TOKENS = _histogram(
    "agent_workflow_tokens",
    "workflow",
    "Input plus output tokens of finished runs, over the calls that reported them.",
    tuple(4**power for power in range(4, 12)),
)
RUN_COST = _histogram(
    "agent_workflow_cost_dollars",
    "workflow",
    "Cost of finished runs in US dollars, over the calls that have a price.",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
RUN_TURNS = _histogram(
    "agent_workflow_turns",
    "workflow",
    "Turns (model calls with their tools) of finished runs.",
    (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50),
)
ACTIVE_COST_MAX = _gauge(
    "agent_active_workflow_cost_dollars_max",
    "workflow",
    "Cost so far of the dearest run that is going on, in US dollars.",
    "max",
)
ACTIVE_TOKENS_MAX = _gauge(
    "agent_active_workflow_tokens_max",
    "workflow",
    "Tokens so far of the run that is going on and has used most.",
    "max",
)
LLM_DURATION = _histogram(
    "agent_llm_call_duration_seconds",
    "model workflow",
    "Duration of LLM calls, failed ones included.",
    (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
FIRST_TOKEN = _histogram(
    "agent_llm_time_to_first_token_seconds",
    "model workflow",
    "Time from a streamed LLM call's start to its first token.",
    (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
LLM_CALLS = _counter(
    "agent_llm_calls_total", "provider model workflow", "LLM calls, failed ones included."
)
LLM_ERRORS = _counter(
    "agent_llm_errors_total",
    "provider model workflow error",
    "Failed LLM calls by class of error. A lower bound: retries inside a client are not seen.",
)
TOKENS = _counter(
    "agent_tokens_total",
    "model direction workflow",
    "Tokens by direction; input includes cache, output includes reasoning.",
)
TOKEN_DETAILS = _counter(
    "agent_token_details_total",
    "model detail workflow",
    "Tokens of agent_tokens_total that were cache reads, cache writes or reasoning.",
)
USAGE_MISSING = _counter(
    "agent_usage_missing_total",
    "model workflow",
    "LLM calls that reported no tokens: their tokens and cost are unknown, not zero.",
)
UNPRICED_TOKENS = _counter(
    "agent_unpriced_tokens_total",
    "model workflow",
    "Tokens of models without a known price: their cost is unknown, not zero.",
)
COST = _counter(
    "agent_cost_dollars_total",
    "model workflow cost_type",
    "Cost of LLM calls in US dollars; input is what was not read from or written to a cache.",
)
TOOL_DURATION = _histogram(
    "agent_tool_duration_seconds",
    "tool workflow",
    "Duration of tool calls, failed ones included.",
    (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60),
)
TOOL_ERRORS = _counter("agent_tool_errors_total", "tool workflow", "Failed tool calls.")
TOOL_RETRIES = _counter(
    "agent_tool_retries_total",
    "tool workflow",
    "Tool calls repeated in a run: after the tool failed, or with the same arguments.",
)
STALE_RESULTS = _counter(
    "agent_tool_stale_results_total",
    "tool workflow",
    "Tool results whose data is too old, or the same for ever other arguments (docs/quality.md).",
)
UNDATED_RESULTS = _counter(
    "agent_tool_undated_results_total",
    "tool workflow",
    "Tool results without a time at the place where their tool's should be: their age is unknown.",
)
NEWEST_DATA = _gauge(
    "agent_tool_result_newest_data_timestamp_seconds",
    "tool",
    "Newest time of data that a tool has returned, for tools of which it is known where it is.",
    "max",
)
QUALITY_SIGNALS = _counter(
    "agent_quality_signals_total",
    "signal workflow",
    "Runs that went wrong without an error, once per run and signal (docs/quality.md).",
)
HANDOFFS = _counter(
    "agent_handoffs_total", "from_agent to_agent workflow", "Hand-offs between agents."
)
HANDOFF_ERRORS = _counter(
    "agent_handoff_errors_total", "from_agent to_agent workflow", "Hand-offs that failed."
)
GUARDRAIL_CHECKS = _counter(
    "agent_guardrail_checks_total", "guardrail workflow", "Guardrail checks."
)
GUARDRAIL_TRIGGERED = _counter(
    "agent_guardrail_triggered_total", "guardrail workflow", "Guardrail checks that tripped."
)
SLA_BREACHES = _counter(
    "agent_sla_breaches_total",
    "workflow limit action",
    "Limits passed by runs, once per run and limit; action stop: at a hard limit, which ended it.",
)
BUDGET_SPENT = _gauge(
    "agent_budget_spent_dollars",
    "budget",
    "Spent since the budget's period began (all: this calendar day, UTC), in US dollars; none "
    "where calls were made and not one of them has a price.",
)
BUDGET_LIMIT = _gauge(
    "agent_budget_limit_dollars", "budget", "The budget's limit per period, in US dollars.", "max"
)
BUDGET_FORECAST = _gauge(
    "agent_budget_forecast_dollars",
    "budget estimate",
    "What the budget's period will come to in US dollars: at the current pace (pace), or if it "
    "goes on as in the last 24 hours (yesterday); none while that is unknown.",
)
BUDGET_UNPRICED = _counter(
    "agent_budget_unpriced_calls_total",
    "budget",
    "LLM calls whose cost is unknown, for lack of a price or of usage, and in no budget's sum.",
)
BUDGET_EVENTS = _counter(
    "agent_budget_events_total",
    "budget event",
    "What was told of a budget, once per period: alert:0.8, forecast, stop (docs/budgets.md).",
)
BUDGET_WITHOUT_PRICE = _gauge(
    "tocsin_budget_without_price",
    "budget",
    "Whether (1) a budget is for models of which none has a price: nothing counts into it.",
    "max",
)
BUDGET_FILE_ERRORS = _counter(
    "tocsin_budget_file_errors_total",
    "reason",
    "Failed uses of the budgets' file: locked, damaged or unavailable; spend stays in memory.",
)
CONVERSATION_TURNS = _histogram(
    "agent_conversation_turns",
    "workflow",
    "Runs that a conversation (group id) has had, observed at the end of each.",
    (1, 2, 3, 5, 8, 13, 21, 34, 55, 89),
)
EVENTS = _counter("tocsin_events_total", "", "Trace events taken from the watched program.")
EVENTS_DROPPED = _counter(
    "tocsin_events_dropped_total", "", "Trace events dropped because the queue was full."
)
QUEUE_DEPTH = _gauge("tocsin_queue_depth", "", "Trace events waiting to be processed.")
MALFORMED = _counter(
    "tocsin_malformed_events_total", "reason", "Trace events that could not be read."
)
LATE_SPANS = _counter("tocsin_late_spans_total", "", "Spans that ended after their run.")
LOST_RUNS = _counter(
    "tocsin_lost_runs_total",
    "reason",
    "Open runs given up: idle for too long (expired) or too many at once (evicted).",
)
UNTRACED_RUNS = _counter(
    "tocsin_untraced_runs_total", "", "Runs of which no span was seen: tracing is switched off."
)
LABEL_OVERFLOWS = _counter(
    "tocsin_label_overflows_total",
    "label",
    "Updates counted under _other because a label had too many values.",
)
SINK_ERRORS = _counter(
    "tocsin_sink_errors_total", "sink", "Failed calls of a metrics client or an alert service."
)
STOP_NOTICES = _counter(
    "tocsin_stop_notices_total",
    "workflow limit action",
    "Runs that came near a hard limit, by what was done: warn, or switch to a cheaper model.",
)
STOP_UNCHECKED = _counter(
    "tocsin_stop_unchecked_calls_total",
    "reason",
    "Steps of limited runs that were not fully checked: Tocsin failed (error), the model has no "
    "price (unpriced), or a call reported no usage and counts as estimated (no_usage).",
)
INTERNAL_ERRORS = _counter(
    "tocsin_internal_errors_total", "", "Events that Tocsin failed to process; please report."
)
ALERTS_DROPPED = _counter(
    "tocsin_alerts_dropped_total",
    "",
    "SLA breaches and quality signals not sent because the alert queue was full.",
)
EXPORTED = _counter(
    "tocsin_export_spans_total", "", "Spans that the receiver of `export_to` has taken."
)
EXPORT_DROPPED = _counter(
    "tocsin_export_dropped_total",
    "reason",
    "Spans not exported: waiting for too long (queue_full), refused by the receiver (rejected), "
    "not sent before the program's end (exit) or not writable (unencodable).",
)
EXPORT_FAILURES = _counter(
    "tocsin_export_failures_total",
    "reason",
    "Export requests without success: connection, timeout, tls, bad answer, or an HTTP status.",
)
EXPORT_DEPTH = _gauge("tocsin_export_queue_depth", "", "Spans waiting to be exported.")
OTLP_REQUESTS = _counter(
    "tocsin_otlp_requests_total",
    "protocol signal code",
    "Answered OTLP requests; code is HTTP's status or gRPC's.",
)
OTLP_BYTES = _counter(
    "tocsin_otlp_bytes_total", "protocol signal", "Bytes of OTLP bodies, compressed as they came."
)
OTLP_DROPPED = _counter(
    "tocsin_otlp_dropped_total",
    "signal",
    "OTLP requests accepted and dropped, because Tocsin keeps no metrics and no logs.",
)
JOURNAL_BYTES = _gauge(
    "tocsin_journal_bytes",
    "",
    "Bytes of accepted bodies that the store does not have yet.",
)
JOURNAL_LAG = _gauge(
    "tocsin_journal_lag_seconds", "", "Age of the oldest accepted body that is not processed yet."
)
JOURNAL_RECORDS = _counter(
    "tocsin_journal_records_total", "outcome", "Bodies by what became of them in the journal."
)
JOURNAL_TORN = _counter(
    "tocsin_journal_torn_bytes_total",
    "",
    "Bytes cut off the journal's end at the start: a write that a crash interrupted.",
)
DEAD_BODIES = _counter(
    "tocsin_dead_bodies_total", "", "Accepted bodies put aside: they could not be processed."
)
STORE_RETRIES = _counter(
    "tocsin_store_retries_total", "", "Writes to the store that had to be repeated."
)
STORE_SPANS = _counter(
    "tocsin_store_spans_total", "", "Spans committed to the store since the start."
)
OTLP_SKIPPED = _counter(
    "tocsin_otlp_spans_skipped_total",
    "reason",
    "Spans left out: unreadable, without right ids or times, or of no form to be stored.",
)
OTLP_REPAIRED = _counter(
    "tocsin_otlp_spans_repaired_total",
    "reason",
    "Spans kept although a parent's id or one of their times was not right.",
)
OTLP_DUPLICATES = _counter(
    "tocsin_otlp_duplicate_spans_total", "", "Spans that were sent more than once."
)
OTLP_SPILLED = _counter(
    "tocsin_otlp_spilled_traces_total",
    "",
    "Traces handed on before they were complete, because too many spans were in memory.",
)
HELD_SPANS = _gauge("tocsin_held_spans", "", "Spans in memory, of traces that may get more.")
