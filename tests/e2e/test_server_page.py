"""What docs/server.md says is done, against a server of its own."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.process import starting, wait_for
from tests.fakes.serving import serve, tocsin

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = re.findall(r"^tocsin (runs .*)$", PAGE, re.M)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    with starting(tmp_path) as start:
        _, found = serve(start, tmp_path / "data")
        yield found


def test_send_then_ask(places: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    send, ask = (
        program.replace("127.0.0.1:4318", places["OTLP/HTTP"]).replace(
            "127.0.0.1:8001", places["HTTP"]
        )
        for program in PROGRAMS
    )
    exec(compile(send, "send", "exec"), {})

    said = ""

    def has_answer() -> bool:
        nonlocal said
        exec(compile(ask, "ask", "exec"), {})
        said = capsys.readouterr().out
        return said != ""

    assert wait_for(has_answer)
    run_id, outcome, took_s, tokens, cost_usd = said.split()
    assert ("ok", "1500", "0.00036") == (outcome, tokens, cost_usd)
    assert float(took_s) < 5

    url = f"http://{places['HTTP']}"
    assert 3 == len(COMMANDS)
    for command in COMMANDS:
        arguments = shlex.split(command.replace("9f405a", run_id[:6]))
        ran = tocsin(*arguments, "--url", url)
        assert (0, "") == (ran.returncode, ran.stderr)
    assert "└ llm gpt-4o-mini" in ran.stdout
    assert "support  ok  " in ran.stdout
    assert "1.5k tokens · $0.0004" in ran.stdout
