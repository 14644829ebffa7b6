"""Events as no honest SDK would make them, for hypothesis to draw from."""

from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from tests.fakes.spans import SDK_DATA, sdk_span, sdk_trace
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass
from tocsin.sources.agents_sdk import events
from tocsin.sources.agents_sdk.events import Ticket

# Anything that JSON and Python programs put into fields, with what matters made likely.
names = (
    st.sampled_from(["", "gpt-4o", "Agent workflow", "a\nb\x00", "\ud800", "x" * 1000]) | st.text()
)
numbers = (
    st.integers() | st.floats() | st.booleans() | st.sampled_from([-1, 0, 1, 1 << 40, 10**100])
)
scalars = st.none() | names | numbers | st.binary(max_size=4) | st.builds(object)
keys = st.sampled_from(
    [
        *("model", "usage", "message", "data", "error", "base_url", "service_tier", "text"),
        *("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"),
        *("cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    ]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(lambda found: SimpleNamespace(**found))
    ),
    max_leaves=8,
)
ids = st.sampled_from(["s", "r", "u"]) | scalars


@st.composite
def hostile_spans(draw: st.DrawFn) -> Any:
    """A span of which each field is as it should be, or anything, or missing."""
    kind = draw(st.sampled_from(list(SDK_DATA)))
    span = sdk_span(kind, draw(ids))
    for target in (span, span.span_data):
        for name in list(vars(target)):
            match draw(st.sampled_from("kkkvd")):
                case "v":
                    setattr(target, name, draw(values))
                case "d" if draw(st.integers(0, 5)) == 0:
                    delattr(target, name)
    return span


times = st.integers(0, 10**18)
hostile_traces = st.builds(sdk_trace, ids, values, values)
tickets = st.builds(Ticket, st.none() | st.sampled_from("sru"))
call_details = st.none() | st.tuples(names, names) | st.sampled_from(ErrorClass)
hostile_events = st.one_of(
    st.tuples(st.sampled_from([events.SPAN_START, events.SPAN_END]), hostile_spans(), times),
    st.tuples(st.sampled_from([events.TRACE_START, events.TRACE_END]), hostile_traces, times),
).map(lambda found: (*found, None)) | st.one_of(
    st.tuples(st.sampled_from([events.CALL, events.CALL_FAILED]), ids, times, call_details),
    st.tuples(st.just(events.FIRST_TOKEN), ids, times, st.none()),
    st.tuples(st.just(events.RUN_END), tickets, times, st.none() | st.sampled_from(Outcome)),
)
