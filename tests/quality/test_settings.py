import pytest

from tocsin.errors import ConfigError
from tocsin.model.finding import Signal
from tocsin.quality.settings import OFF, Quality, ToolData


def test_defaults_watch_for_everything() -> None:
    assert tuple(Signal) == Quality().signals


def test_off_watches_for_nothing() -> None:
    assert () == OFF.signals


def test_tool_data_alone_switches_staleness_on() -> None:
    quality = Quality(same_output=None, tools={"t": ToolData(same_output=3)})
    assert Signal.STALE_TOOL_OUTPUT in quality.signals


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        Quality(
            same_calls=1,
            ping_pong=2.5,  # type: ignore[arg-type]
            stalled_calls=True,
            guardrail_runs=0,
            same_output_window_s=float("nan"),
            answers="yes",  # type: ignore[arg-type]
            guarded="support",
            polling=[3],  # type: ignore[list-item]
            tools={"quote": 60},  # type: ignore[dict-item]
            severity="bad",
        )
    for name in (
        *("same_calls: 1", "ping_pong: 2.5", "stalled_calls: True", "guardrail_runs: 0"),
        *("same_output_window_s: nan", "answers: 'yes'", "guarded: 'support'", "polling: [3]"),
        *("tools['quote']: 60", "severity: 'bad'"),
    ):
        assert name in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "leave the tool out"),
        ({"max_age_s": 60}, "needs time_at"),
        ({"max_age_s": -1, "time_at": "$.a"}, "max_age_s: -1"),
        ({"time_at": "$.a["}, "is not a JSONPath"),
        ({"time_at": 3}, "time_at: 3"),
        ({"same_output": 1}, "same_output: 1"),
    ],
)
def test_tool_data_is_checked(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ToolData(**fields)  # type: ignore[arg-type]
    assert problem in str(raised.value)


def test_tools_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not map tools"):
        Quality(tools=["quote"])  # type: ignore[arg-type]
