import io

import pytest
from rich.console import Console

from tocsin.lab.demo.screen import Alerts, LiveScreen, PlainScreen, breach_line, open_screen

MESSAGE = "research: 32,079 tokens so far, over the limit of 30,000 tokens (run span_0123456789)"
HEAD = "11:00:00 critical "


def console(**options: object) -> Console:
    return Console(file=io.StringIO(), **({"width": 80} | options))  # type: ignore[arg-type]


def printed(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def breach(width: int | None, on: int = 200) -> list[str]:
    to = console(width=on)
    to.print(breach_line("11:00:00", "critical", MESSAGE, width=width))
    return [line.rstrip() for line in printed(to).splitlines()]


def test_breach_on_one_line() -> None:
    assert [HEAD + MESSAGE] == breach(None) == breach(120)


def test_breach_folds_before_its_run() -> None:
    what, run = MESSAGE.split(" (")

    assert [HEAD + what, " " * 18 + f"({run}"] == breach(90, on=90)


def test_breach_folds_beside_its_time() -> None:
    lines = breach(60, on=60)

    assert lines[0].startswith(HEAD)
    assert all(line.startswith(" " * 18) for line in lines[1:])


@pytest.mark.parametrize(
    ("expected", "plain", "options"),
    [
        (LiveScreen, False, {"force_terminal": True, "_environ": {"TERM": "xterm"}}),
        (PlainScreen, True, {"force_terminal": True, "_environ": {"TERM": "xterm"}}),
        (PlainScreen, False, {"force_terminal": True, "_environ": {"TERM": "dumb"}}),
        (PlainScreen, False, {}),
    ],
)
def test_chooses_what_the_console_can_show(
    expected: type, plain: bool, options: dict[str, object]
) -> None:
    assert expected is type(open_screen(console(**options), str, plain=plain))


def test_plain_screen_prints_first_last_and_not_too_often() -> None:
    to = console()

    with PlainScreen(to, lambda width: f"picture {width}", every_s=60.0) as screen:
        screen.refresh()
        screen.refresh()

    assert "picture 80\n" * 2 == printed(to)


def test_plain_screen_keeps_a_breach_on_one_line() -> None:
    to = console(width=40)

    Alerts(PlainScreen(to, str)).send(severity="critical", message=MESSAGE)

    (line,) = printed(to).splitlines()
    assert line.endswith(MESSAGE)


def test_live_screen_prints_lines_above_its_picture() -> None:
    to = console(force_terminal=True, _environ={"TERM": "xterm"})

    with LiveScreen(to, lambda width: "the picture") as screen:
        screen.say("a line")
        screen.refresh()

    text = printed(to)
    assert text.rindex("a line") < text.rindex("the picture")
