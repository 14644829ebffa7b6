"""Spans that are left out of a finished run's replay could not have shown anything."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.spans import run, span
from tocsin.model.finding import Finding
from tocsin.model.run import Outcome
from tocsin.model.span import ErrorClass, Kind, Result, Span, Usage
from tocsin.quality.repetition import may_repeat, tells_alone
from tocsin.quality.settings import LEAST, Quality
from tocsin.quality.watch import QualityWatch

STRICT = Quality(guarded=("w",), **LEAST)  # type: ignore[arg-type]
"""The least that may be set: whatever can be a signal is one."""
KINDS = st.sampled_from((Kind.LLM, Kind.TOOL, Kind.HANDOFF, Kind.GUARDRAIL, Kind.AGENT, Kind.STEP))
AGENTS = st.sampled_from(("a", "b", None))


@st.composite
def made_spans(draw: st.DrawFn) -> list[Span]:
    has_trouble = draw(st.booleans())
    seldom = st.just(None) if not has_trouble else st.sampled_from((None, None, 1))
    arguments = st.integers(1, 3) if has_trouble else st.integers(1, 10**6)
    found = []
    for number in range(draw(st.integers(0, 12))):
        kind, failed, output = draw(KINDS), draw(seldom), draw(seldom)
        made = span(
            kind,
            f"s{number}",
            f"s{draw(st.integers(0, number))}",
            at_s=draw(st.integers(0, 6)),
            lasts_s=draw(st.integers(0, 3)),
            name=draw(st.sampled_from(("t", "u"))),
            error=None if failed is None else ErrorClass.TIMEOUT,
            arguments=draw(st.none() | arguments),
            result=None if output is None else Result(output, 500, 1),
            usage=draw(st.sampled_from((None, Usage(number * 10, 0), Usage(number * 10, 5)))),
            finish_reason=draw(st.sampled_from((None, "stop", "length", "content_filter"))),
            from_agent=draw(AGENTS),
            to_agent=draw(AGENTS),
        )
        found.append(made)
    return found


def findings(runs: list[list[Span]]) -> list[list[Finding]]:
    watch = QualityWatch(STRICT)
    ended = run(lasts_s=10, outcome=Outcome.OK, llm_calls=1)
    return [watch.replay(ended, spans) for spans in runs]


@given(st.lists(made_spans(), max_size=4))
def test_leaving_them_out_changes_nothing(runs: list[list[Span]]) -> None:
    with patch("tocsin.quality.watch.may_repeat", return_value=True):
        expected = findings(runs)

    assert expected == findings(runs)


def test_a_healthy_run_has_nothing_to_replay() -> None:
    calls = [span(Kind.TOOL, f"t{n}", arguments=n) for n in range(100)]
    answers = [span(Kind.LLM, f"l{n}", usage=Usage(100, 5)) for n in range(100)]

    assert not may_repeat([*calls, *answers])
    assert not any(map(tells_alone, [*calls, *answers]))
