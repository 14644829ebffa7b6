from tests.fakes.clock import NOON_NS
from tests.fakes.spans import span
from tocsin.model.span import ErrorClass, Kind, Result, Span
from tocsin.quality.freshness import MAX_TOOLS, Freshness
from tocsin.quality.settings import Quality, ToolData

AGED = Quality(tools={"t": ToolData(max_age_s=60, time_at="$.at")})


def call(output: int = 1, arguments: int = 1, *, name: str = "t", at_s: float = 0) -> Span:
    return span(Kind.TOOL, name=name, at_s=at_s, result=Result(output, 500, arguments))


def dated(age_s: float | None) -> Span:
    ended_ns = NOON_NS + 10**9
    data_ns = None if age_s is None else int(ended_ns - age_s * 1e9)
    return span(Kind.TOOL, name="t", ended_ns=ended_ns, result=Result(1, 500, 1, data_ns))


def stale(quality: Quality, *calls: Span) -> list[bool]:
    freshness = Freshness(quality)
    return [freshness.judge(each).stale is not None for each in calls]


def test_data_over_its_age_is_stale() -> None:
    assert [False, True] == stale(AGED, dated(60), dated(61))
    assert Freshness(AGED).judge(dated(7200)).stale == "t returned data 7,200 s old, over its 60"


def test_data_from_the_future_is_fresh() -> None:
    assert [False] == stale(AGED, dated(-600))


def test_missing_time_is_known_to_be_missing() -> None:
    freshness = Freshness(AGED)
    redacted = span(Kind.TOOL, name="t", result=None)

    assert [True, False, False] == [
        freshness.judge(each).dated for each in (dated(1), dated(None), redacted)
    ]
    assert freshness.judge(call(name="other")).dated is None


def test_failed_call_says_nothing() -> None:
    failed = span(Kind.TOOL, name="t", error=ErrorClass.OTHER)
    assert Freshness(AGED).judge(failed).dated is None


def test_output_that_froze_is_stale() -> None:
    calls = [call(output=0), *(call(output=1, arguments=n) for n in range(4))]
    assert [False, False, False, True, True] == stale(Quality(same_output=3), *calls)


def test_same_arguments_may_have_the_same_output() -> None:
    calls = [call(output=0), *(call(output=1, arguments=n % 2) for n in range(20))]
    assert not any(stale(Quality(same_output=3), *calls))


def test_another_output_ends_the_streak() -> None:
    calls = [call(output=n // 2, arguments=n) for n in range(20)]
    assert not any(stale(Quality(same_output=3), *calls))


def test_short_outputs_may_repeat() -> None:
    calls = [call(output=0)]
    calls += [span(Kind.TOOL, name="t", result=Result(1, 4, n)) for n in range(9)]
    assert not any(stale(Quality(same_output=3), *calls))


def test_tool_that_never_varied_may_repeat_unless_told_otherwise() -> None:
    calls = [call(arguments=n) for n in range(3)]
    assert not any(stale(Quality(same_output=3), *calls))
    own = Quality(same_output=None, tools={"t": ToolData(same_output=3)})
    assert [False, False, True] == stale(own, *calls)


def test_calls_before_the_window_do_not_count() -> None:
    calls = [call(output=0), *(call(arguments=n, at_s=n * 40) for n in range(6))]
    quality = Quality(same_output=3, same_output_window_s=60)
    assert not any(stale(quality, *calls))


def test_tools_remembered_are_bounded() -> None:
    freshness = Freshness(Quality())
    for n in range(MAX_TOOLS + 5):
        freshness.judge(call(name=f"t{n}"))
    assert MAX_TOOLS == len(freshness._streaks)
