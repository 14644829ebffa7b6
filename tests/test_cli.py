import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import pytest

import tocsin
from tocsin import cli
from tocsin.cli import main
from tocsin.lab.demo import demo


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert 0 == ended.value.code
    assert f"tocsin {tocsin.__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("the following arguments are required: COMMAND", []),
        ("argument --seconds: '0': write seconds above 0", ["demo", "--seconds", "0"]),
        ("argument --seconds: 'inf': write seconds above 0", ["demo", "--seconds", "inf"]),
        ("argument --seconds: 'soon': write seconds above 0", ["demo", "--seconds", "soon"]),
        (
            "argument --rate: '201': write runs per second, above 0 and at most 200",
            ["demo", "--rate", "201"],
        ),
        (
            "argument --rate: 'nan': write runs per second, above 0 and at most 200",
            ["demo", "--rate", "nan"],
        ),
        (
            "argument --port: '65536': write a port number, 0 to 65535",
            ["demo", "--port", "65536"],
        ),
        ("argument --port: '1.5': write a port number, 0 to 65535", ["demo", "--port", "1.5"]),
        ("argument --seed: invalid int value: 'x'", ["demo", "--seed", "x"]),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], expected: str, arguments: Sequence[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert 2 == ended.value.code
    assert expected in capsys.readouterr().err


def test_missing_packages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "rich" else find_spec(name))

    assert 2 == main(["demo"])
    expected = 'tocsin demo needs more packages: pip install "tocsin[demo]"\n'
    assert expected == capsys.readouterr().err


def test_options_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[demo.Options] = []
    monkeypatch.setattr(demo, "run_demo", seen.append)
    arguments = "demo --seconds 6 --rate 0.5 --seed 3 --port 0 --plain"

    assert 0 == main(arguments.split())
    assert [demo.Options(seconds=6.0, rate=0.5, seed=3, port=0, plain=True)] == seen


def test_defaults_are_those_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[demo.Options] = []
    monkeypatch.setattr(demo, "run_demo", seen.append)
    main(["demo"])

    assert [demo.Options()] == seen


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: demo.Options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupt)

    assert 130 == main(["demo"])


def test_command_line_loads_no_lab() -> None:
    code = "import sys, tocsin.cli; print([m for m in sys.modules if m in ('agents', 'rich')])"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n" == ran.stdout
