import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.counts import Page
from tests.fakes.hostile import hostile_events
from tests.fakes.observer import RecordingObserver
from tests.fakes.spans import SDK_DATA, sdk_span, sdk_trace
from tocsin.app import worker
from tocsin.app.watcher import Watcher
from tocsin.errors import ConfigError
from tocsin.runs.limits import WorkflowSLA
from tocsin.sources.agents_sdk.events import SPAN_START

Watch = Callable[..., Watcher]


@pytest.fixture(autouse=True)
def eager_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an idle worker look again at once."""
    monkeypatch.setattr(worker, "POLL_S", 0.001)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Make watchers that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> Watcher:
            watcher = Watcher(**({"watch_runner": False} | settings))
            stack.callback(watcher.close)
            return watcher

        yield start


def play(watcher: Watcher, *spans: Any, trace: Any = None) -> Page:
    """Hand spans over as the SDK does, all started, then all ended inside out."""
    processor, trace = watcher.processor, trace or sdk_trace()
    processor.on_trace_start(trace)
    for span in spans:
        processor.on_span_start(span)
    for span in reversed(spans):
        processor.on_span_end(span)
    processor.on_trace_end(trace)
    return page(watcher)


def page(watcher: Watcher) -> Page:
    assert watcher.flush(10)
    return Page(watcher.families())


def exposed(watcher: Watcher) -> str:
    """The page as a scraper gets it, parsed once to see that it can be."""
    registry = CollectorRegistry()
    registry.register(watcher.collector)
    text = generate_latest(registry).decode()
    assert list(text_string_to_metric_families(text))
    return text


def run_with_a_call(usage: Any = None) -> list[Any]:
    usage = usage or {"input_tokens": 1000, "output_tokens": 500}
    return [
        sdk_span("task", "r", name="support"),
        sdk_span("agent", "a", parent_id="r"),
        sdk_span("generation", "l", parent_id="a", usage=usage),
    ]


def test_run_is_counted_from_its_spans(watch: Watch) -> None:
    found = play(watch(), *run_with_a_call())

    assert 1 == found.total("agent_workflow_runs_total", workflow="support", outcome="ok")
    assert 0.0075 == found.total("agent_cost_dollars_total", workflow="support", model="gpt-4o")
    assert (0, 0) == (found.total("agent_active_workflows"), found.total("tocsin_queue_depth"))


def test_own_health_is_shown(watch: Watch) -> None:
    found = play(watch(), *run_with_a_call())

    assert (8, 0, 0, 0) == (
        found.total("tocsin_events_total"),
        found.total("tocsin_events_dropped_total"),
        found.total("tocsin_internal_errors_total"),
        found.total("tocsin_malformed_events_total"),
    )


# --- hostility ----------------------------------------------------------------------------


class Raising:
    """Every attribute raises."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")


MALFORMED = [
    (None, "AttributeError"),
    (object(), "AttributeError"),
    ("text", "AttributeError"),
    (Raising(ValueError("x")), "ValueError"),
    (Raising(RecursionError()), "RecursionError"),
    (sdk_span("task", None), "no span id"),
    (sdk_span("task", trace_id=None), "no trace id"),
    (SimpleNamespace(**vars(sdk_span()) | {"span_data": SimpleNamespace(type=[])}), "TypeError"),
]


@pytest.mark.parametrize(
    ("span", "reason"),
    [pytest.param(*row, id=f"{n}-{row[1]}") for n, row in enumerate(MALFORMED)],
)
def test_malformed_span_is_counted_by_reason_and_the_next_is_read(
    watch: Watch, span: Any, reason: str
) -> None:
    watcher = watch()
    watcher.processor.on_span_start(span)
    watcher.processor.on_span_end(span)
    found = play(watcher, *run_with_a_call())

    assert ({reason: 2}, 1) == (
        found.by("tocsin_malformed_events_total", "reason"),
        found.total("agent_workflow_runs_total", outcome="ok"),
    )


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_span_that_wants_to_end_the_program_is_counted_and_the_next_is_read(
    watch: Watch, error: BaseException
) -> None:
    watcher = watch()
    watcher.processor.on_span_start(Raising(error))  # type: ignore[arg-type]
    found = play(watcher, *run_with_a_call())

    assert 1 == found.total("agent_workflow_runs_total", outcome="ok")
    assert 1 == found.total("tocsin_internal_errors_total") + found.total(
        "tocsin_malformed_events_total"
    )


def test_reasons_cannot_be_made_without_end(watch: Watch) -> None:
    watcher = watch()
    for n in range(1_000):
        watcher.processor.on_span_start(Raising(type(f"E{n}", (Exception,), {})()))  # type: ignore[arg-type]
    found = page(watcher)
    reasons = found.by("tocsin_malformed_events_total", "reason")

    assert (1_000, True) == (sum(reasons.values()), len(reasons) <= 101)


HUGE = "x" * 10_000_000
STRINGS = [HUGE, "\n" * 1000, "a\x00b", "\ud800", "\u202egnp.exe", '"} 1\nfake_metric 7', "\\", ""]


@pytest.mark.parametrize("kind", SDK_DATA)
@pytest.mark.parametrize("text", STRINGS, ids=lambda text: repr(text[:20]))
def test_any_text_in_any_field_leaves_a_page_that_can_be_read(
    watch: Watch, kind: str, text: str
) -> None:
    watcher = watch()
    fields = dict.fromkeys(SDK_DATA[kind], text)
    root = sdk_span("task", "r", name=text)
    span = sdk_span(kind, "s", parent_id="r", error={"message": text, "data": {"error": text}})
    vars(span.span_data).update(fields)
    play(watcher, root, span, trace=sdk_trace(name=text, group_id=text))

    assert "fake_metric 7" not in exposed(watcher).splitlines()
    assert 0 == Page(watcher.families()).total("tocsin_internal_errors_total")


WRONG: list[Any] = [
    None,
    0,
    -1,
    True,
    float("nan"),
    10**100,
    [],
    {},
    {str(n): n for n in range(10_000)},
    b"x",
    object(),
    SimpleNamespace(),
]


@pytest.mark.parametrize("kind", SDK_DATA)
@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_any_value_in_any_field_is_counted_and_nothing_of_ours_fails(
    watch: Watch, kind: str, value: Any
) -> None:
    watcher = watch()
    span = sdk_span(kind, "s", parent_id="r", error=value)
    vars(span.span_data).update(dict.fromkeys(SDK_DATA[kind], value))
    found = play(watcher, sdk_span("task", "r"), span, trace=sdk_trace(name=value, group_id=value))

    assert 0 == found.total("tocsin_internal_errors_total")
    assert exposed(watcher)


USAGES = [
    ({"input_tokens": -5, "output_tokens": 5}, 5),
    ({"input_tokens": 10**100, "output_tokens": 5}, 5),
    ({"input_tokens": True, "output_tokens": 5}, 5),
    ({"input_tokens": "7", "output_tokens": 5}, 5),
    ({"input_tokens": float("nan"), "output_tokens": 5}, 5),
    ({"input_tokens": 7, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 9}}, 12),
]


@pytest.mark.parametrize(("usage", "tokens"), USAGES)
def test_broken_usage_never_makes_a_counter_fall(watch: Watch, usage: Any, tokens: int) -> None:
    found = play(watch(), *run_with_a_call(usage))

    assert tokens == found.total("agent_tokens_total")
    assert found.total("agent_cost_dollars_total") > 0


TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "1969-01-01T00:00:00Z"]


@pytest.mark.parametrize("started_at", TIMES)
def test_impossible_times_break_nothing(watch: Watch, started_at: str) -> None:
    spans = run_with_a_call()
    for span in spans:
        span.started_at = span.ended_at = started_at
    found = play(watch(), *spans)

    assert (1, 0) == (
        found.total("agent_workflow_runs_total", outcome="ok"),
        found.total("tocsin_internal_errors_total"),
    )


FUZZED = Watcher(watch_runner=False)
FUZZED.add_slas({"*": WorkflowSLA(1.0, 10, 0.001, 0.1, 1)})
FUZZED.worker.close(0)  # this test is the worker


@given(st.lists(hostile_events, max_size=12))
def test_no_event_can_make_processing_raise(sequence: list[Any]) -> None:
    for event in sequence:
        FUZZED._process(event)
    FUZZED._tick()

    assert exposed(FUZZED)


# --- settings -----------------------------------------------------------------------------


@pytest.mark.parametrize("run_ttl_s", [0, -1, float("nan")])
def test_wrong_ttl_is_refused(run_ttl_s: float) -> None:
    with pytest.raises(ConfigError, match="run_ttl_s"):
        Watcher(run_ttl_s=run_ttl_s, watch_runner=False)


@pytest.mark.parametrize("sla", [None, 15.0, {"max_turns": 1}])
def test_value_that_is_no_sla_is_refused_by_name(watch: Watch, sla: Any) -> None:
    with pytest.raises(ConfigError, match=r"slas\['w'\]: .* is not a tocsin.WorkflowSLA"):
        watch().add_slas({"w": sla})


def test_limits_exist_at_0_before_the_first_run(watch: Watch) -> None:
    watcher = watch()
    watcher.add_slas({"w": WorkflowSLA(15.0, 8000), "*": WorkflowSLA(max_turns=3)})
    (family,) = (f for f in watcher.families() if f.metric.name == "agent_sla_breaches_total")

    assert {("w", "latency", "alert"): 0, ("w", "tokens", "alert"): 0} == family.values


# --- the end ------------------------------------------------------------------------------


def test_closed_watcher_keeps_nothing_and_says_what_it_has(watch: Watch) -> None:
    watcher = watch()
    play(watcher, *run_with_a_call())
    results = [watcher.close(), watcher.close()]
    for _ in range(100):
        watcher.processor.on_span_start(sdk_span("task", "late"))

    assert ([True, True], 0, False) == (results, len(watcher.queue), watcher.worker.running)
    assert 1 == Page(watcher.families()).total("agent_workflow_runs_total")


def test_queue_that_is_full_drops_and_counts(watch: Watch) -> None:
    watcher = watch(queue_limit=0)
    watcher.processor.on_trace_start(sdk_trace())
    for span in run_with_a_call():
        watcher.processor.on_span_start(span)
    watcher.worker.start()

    assert 4 == page(watcher).total("tocsin_events_dropped_total")


def test_observer_that_raises_is_counted_by_its_name(watch: Watch) -> None:
    watcher = watch()
    watcher.add_observer(RecordingObserver(failing=ValueError("no")))
    found = play(watcher, *run_with_a_call())

    assert found.total("tocsin_sink_errors_total", sink="recording") > 0
    assert 1 == found.total("agent_workflow_runs_total")


def test_forked_child_shows_nothing_of_its_parents(watch: Watch, tmp_path: Path) -> None:
    watcher = watch(shared_dir=tmp_path)
    watcher.add_observer(RecordingObserver(failing=ValueError("no")))
    watcher.processor.on_span_start(Raising(SystemExit()))  # type: ignore[arg-type]
    watcher.processor.on_span_start(None)  # type: ignore[arg-type]
    play(watcher, *run_with_a_call())
    watcher.worker.running = False
    watcher.worker._thread.join(5)  # type: ignore[union-attr]
    watcher.reset_after_fork()
    watcher._tick()
    own = Page(watcher.registry.collect())

    assert [0.0] * 5 == [
        own.total(f"tocsin_{name}_total")
        for name in ("events", "internal_errors", "malformed_events", "sink_errors", "late_spans")
    ]
    assert 1 == page(watcher).total("agent_workflow_runs_total"), "the parent's stay in its file"


def test_a_run_given_up_is_off_the_page_at_once(watch: Watch) -> None:
    watcher = watch(run_ttl_s=0.2)
    watcher.emit((SPAN_START, sdk_span("task"), time.monotonic_ns(), None))
    watcher.flush()
    assert 1 == Page(watcher.families()).total("agent_active_workflows")

    deadline = time.monotonic() + 5
    while watcher.pipeline.tracker.open_count and time.monotonic() < deadline:
        time.sleep(0.01)
    watcher.flush()
    assert 0 == Page(watcher.families()).total("agent_active_workflows")
