"""`tocsin runs` as people and programs call it; the server is a process of its own."""

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import NOON_NS
from tests.fakes.process import starting, wait_for
from tests.fakes.serving import serve, tocsin
from tests.fakes.stored import fill, moved, stored_run, support_run
from tocsin.model.run import Outcome
from tocsin.store.base import Batch

pytestmark = pytest.mark.slow

SUPPORT = "5eed0000000000aa"
LONG = "span_0123456789abcdef01234567"
OTHERS = Batch(
    runs=[
        stored_run(LONG, at_s=-60, workflow="a-workflow-with-quite-a-long-name-indeed", turns=12),
        stored_run("bad", at_s=-120, outcome=Outcome.ERROR, workflow="evil\x1b[2J\nname"),
    ]
)


def in_terminal(width: int, *arguments: str, **env: str) -> str:
    """What it writes to a terminal so wide."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    own = {"TERM": "xterm-256color", "TZ": "UTC", "PYTHONUTF8": "1", **env}
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "tocsin", *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=inherited | own)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    assert 0 == process.wait(30)
    return b"".join(pieces).decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that no server uses."""
    found = tmp_path_factory.mktemp("data")
    fill(found / "store", support_run(), OTHERS)
    return found


def test_list(data: Path) -> None:
    ran = tocsin("runs", "--data", str(data))
    assert (0, "") == (ran.returncode, ran.stderr)
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["Run", "Workflow", "Outcome", "Started", "Took", "Turns", "Tokens", "Cost"] == lines[0]
    assert [SUPPORT, LONG, "bad"] == [line[0] for line in lines[2:]]
    assert ["support", "ok"] == lines[2][1:3]
    assert ["4.0", "s", "2", "150+", "$0.030+"] == lines[2][-5:]


def test_filters(data: Path) -> None:
    failed = tocsin("runs", "--data", str(data), "--outcome", "failed", "--json")
    assert ["bad"] == [run["run_id"] for run in json.loads(failed.stdout)["runs"]]
    slow = tocsin("runs", "--data", str(data), "--order", "slowest", "--limit", "1", "--json")
    assert [SUPPORT] == [run["run_id"] for run in json.loads(slow.stdout)["runs"]]
    none = tocsin("runs", "--data", str(data), "--workflow", "none", "--since", "24h")
    assert "no runs: none is stored, or none fits the filters\n" == none.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_list_in_a_terminal(data: Path, width: int) -> None:
    shown = in_terminal(width, "runs", "--data", str(data))
    lines = plain(shown).splitlines()
    assert width >= max(map(len, lines))
    assert "\x1b[2J" not in shown
    assert "span_012345…4567" in lines[3]
    assert "a-workflow-w" in lines[3]
    assert lines[2].endswith(" 150+ $0.030+" if width < 100 else " 150+  $0.030+")
    shortened = tocsin("runs", "show", "span_012345…4567", "--data", str(data), "--json")
    assert LONG == json.loads(shortened.stdout)["run"]["run_id"]


def test_tree(data: Path) -> None:
    expected = """\
support  ok  4.0 s · 2 turns · 150+ tokens · $0.030+
run 5eed0000000000aa
trace t
conversation chat/7
service shop
environment prod
started 2026-06-01T12:00:00Z
1 call reported no tokens

Span                      0              4.0 s   Took  First Tokens   Cost
support                   ████████████████████  4.0 s
└ agent Triage            █████████████████     3.5 s
  ├ llm gpt-4o              ░░░██               1.0 s 500 ms    150 $0.030
  ├ ✗ timeout tool lookup        ███           500 ms
  ├ tool lookup again               ██         500 ms
  └ llm own                           █████     1.0 s             –      –
"""  # noqa: RUF001 - the dash of what is unknown
    shown = in_terminal(74, "runs", "show", "5eed", "--data", str(data))
    lines = [line.rstrip() for line in plain(shown).splitlines()]
    assert expected.splitlines() == lines


@pytest.mark.parametrize("width", [40, 80, 120])
def test_tree_fits_the_terminal(data: Path, width: int) -> None:
    shown = plain(in_terminal(width, "runs", "show", "5eed", "--data", str(data)))
    table = shown.split("\n\n")[1]
    assert width >= max(map(len, table.splitlines()))


def test_without_colour(data: Path) -> None:
    arguments = ("runs", "show", SUPPORT, "--data", str(data))
    shown = in_terminal(80, *arguments, NO_COLOR="1")
    colours = re.findall(r"\x1b\[(?:\d+;)*3[0-7]m", shown)
    assert [] == colours
    assert "\x1b" not in tocsin(*arguments).stdout
    ascii_only = tocsin(*arguments, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (0, True) == (ascii_only.returncode, "timeout tool lookup" in ascii_only.stdout)


def test_no_such_run(data: Path) -> None:
    ran = tocsin("runs", "show", "nope", "--data", str(data))
    assert (1, "tocsin runs: there is no run 'nope'\n") == (ran.returncode, ran.stderr)


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("limit: '0' is not a number from 1 to 500", ["--limit", "0"]),
        ("outcome: 'bad' is no outcome; write failed, ok", ["--outcome", "bad"]),
        ("since: 'today' is not a duration; write 30s", ["--since", "today"]),
    ],
)
def test_wrong_usage(data: Path, expected: str, arguments: list[str]) -> None:
    ran = tocsin("runs", "--data", str(data), *arguments)
    assert (2, 1) == (ran.returncode, ran.stderr.count("\n"))
    assert expected in ran.stderr


def test_url_and_data_exclude_each_other() -> None:
    ran = tocsin("runs", "--data", "d", "--url", "http://127.0.0.1:1")
    assert 2 == ran.returncode
    assert "not allowed with" in ran.stderr


def test_no_data(tmp_path: Path) -> None:
    ran = tocsin("runs", "--data", str(tmp_path))
    assert (1, f"tocsin runs: {tmp_path} holds no Tocsin data\n") == (ran.returncode, ran.stderr)


def test_no_server() -> None:
    ran = tocsin("runs", "--url", "http://127.0.0.1:1", http_proxy="http://127.0.0.1:2")
    expected = "tocsin runs: no Tocsin server answers at http://127.0.0.1:1: Connection refused\n"
    assert (1, expected) == (ran.returncode, ran.stderr)


def test_an_address_that_is_none() -> None:
    ran = tocsin("runs", "--url", "localhost:8001")
    expected = "tocsin runs: --url 'localhost:8001' is no address; write http://127.0.0.1:8001\n"
    assert (1, expected) == (ran.returncode, ran.stderr)


class Stranger(BaseHTTPRequestHandler):
    """A server that is not Tocsin's."""

    def do_GET(self) -> None:
        self.send_response(200 if "limit" in self.path else 404)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [("its answer is of another kind", ["runs"]), ("HTTP 404", ["runs", "show", "x"])],
)
def test_another_server(expected: str, arguments: list[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        ran = tocsin(*arguments, "--url", url)
        server.shutdown()
        thread.join()
    assert (1, 1) == (ran.returncode, ran.stderr.count("\n"))
    assert f"no Tocsin server answers at {url}: {expected}" in ran.stderr


def test_neither_server_nor_data(tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8001)) == 0:
            pytest.skip("something answers on 8001")
    ran = tocsin("runs", XDG_DATA_HOME=str(tmp_path))
    expected = (
        "tocsin runs: no Tocsin server answers at http://127.0.0.1:8001: Connection refused, and"
        f" {tmp_path}/tocsin holds no Tocsin data; start `tocsin serve`, or name a --url or"
        " --data\n"
    )
    assert (1, expected) == (ran.returncode, ran.stderr)
    fill(tmp_path / "tocsin" / "store", support_run())
    assert SUPPORT in tocsin("runs", XDG_DATA_HOME=str(tmp_path)).stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A server that has the runs; its data directory and its URL."""
    data = tmp_path / "data"
    shift_ns = time.time_ns() - NOON_NS  # a server drops what is older than its retention
    fill(data / "store", moved(support_run(), shift_ns), moved(OTHERS, shift_ns))
    with starting(tmp_path) as start:
        _, places = serve(start, data)
        yield data, f"http://{places['HTTP']}"


@pytest.mark.e2e
def test_asks_the_server_that_has_the_data(server: tuple[Path, str]) -> None:
    data, url = server
    listed = tocsin("runs", "--url", url, "--outcome", "failed", "--json")
    assert ["bad"] == [run["run_id"] for run in json.loads(listed.stdout)["runs"]]
    shown = tocsin("runs", "show", "5eed", "--url", url)
    assert (0, "") == (shown.returncode, shown.stderr)
    assert "✗ timeout tool lookup" in shown.stdout
    missing = tocsin("runs", "show", "a b/c", "--url", url)
    assert (1, 1) == (missing.returncode, missing.stderr.count("\n"))
    wrong = tocsin("runs", "--limit", "501", "--url", url)
    expected = "tocsin runs: limit: '501' is not a number from 1 to 500\n"
    assert (2, expected) == (wrong.returncode, wrong.stderr)
    locked = tocsin("runs", "--data", str(data))
    assert (1, 1) == (locked.returncode, locked.stderr.count("\n"))
    assert "is in use by process " in locked.stderr
    assert "ask that server: --url http://HOST:PORT" in locked.stderr


@pytest.mark.e2e
def test_default_data_of_the_server(tmp_path: Path) -> None:
    with starting(tmp_path) as start:
        places = [p for o in ("listen", "otlp-http", "otlp-grpc") for p in (f"--{o}", "[::1]:0")]
        command = [sys.executable, "-m", "tocsin", "serve", *places]
        program = start(command=command, XDG_DATA_HOME=str(tmp_path))
        assert wait_for(lambda: "data in" in program._out.read_text(), 30), program.errors
        assert f"data in {tmp_path}/tocsin;" in program._out.read_text()
