"""`tocsin serve` as a program."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.fakes.receiver import Receiver
from tests.fakes.span_store import SpanStore, request_of
from tocsin.serve.command import add_serve_command
from tocsin.serve.options import make_options
from tocsin.store.location import default_data

CODE = """
import argparse
from tocsin.serve.command import add_check_command, add_serve_command
parser = argparse.ArgumentParser()
commands = parser.add_subparsers()
add_serve_command(commands)
add_check_command(commands)
options = parser.parse_args()
raise SystemExit(options.run(options))
"""
FREE = ("--listen", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0")


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return tocsin("serve", *arguments)


def tocsin(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_listens_on_loopback_by_default() -> None:
    parser = argparse.ArgumentParser()
    add_serve_command(parser.add_subparsers())
    options = make_options(parser.parse_args(["serve"]))
    expected = ["127.0.0.1:8001", "127.0.0.1:4318", "127.0.0.1:4317"]
    assert expected == [str(a) for a in (options.listen, options.otlp_http, options.otlp_grpc)]
    assert default_data() == options.data


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tocsin.yaml"
    file.write_text("listen: 127.0.0.1:1\notlp: {http: 127.0.0.1:2}\nstore: duckdb:///from/file\n")
    parser = argparse.ArgumentParser()
    add_serve_command(parser.add_subparsers())

    by_file = make_options(parser.parse_args(["serve", "--config", str(file)]))
    assert (Path("/from/file"), 1, 2, 4317) == (
        *(by_file.data, by_file.listen.port),
        *(by_file.otlp_http.port, by_file.otlp_grpc.port),
    )
    given = ["--listen", "127.0.0.1:9", "--data", "/given"]
    by_hand = make_options(parser.parse_args(["serve", "--config", str(file), *given]))
    assert (Path("/given"), 9, 2) == (by_hand.data, by_hand.listen.port, by_hand.otlp_http.port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--listen", "8001"), "'8001' is no address; write HOST:PORT, such as 127.0.0.1:4318"),
        (("--config", "no.yaml"), "no.yaml: cannot be read: No such file or directory"),
    ],
)
def test_wrong_options_are_explained(arguments: tuple[str, ...], message: str) -> None:
    done = serve(*arguments)
    assert (2, f"tocsin serve: {message}\n") == (done.returncode, done.stderr)


def test_check_says_what_is_wrong_without_starting(tmp_path: Path) -> None:
    file = tmp_path / "tocsin.yaml"
    file.write_text("retention: {spans: 7d}\n")
    assert (0, f"{file}: fine\n") == ((done := tocsin("check", str(file))).returncode, done.stdout)
    file.write_text("retention: {span: 7d}\n")
    done = tocsin("check", str(file))
    message = f"{file}:1:13: retention.span: is no key here; write spans\n"
    assert (1, message) == (done.returncode, done.stderr)


def test_check_tells_all_that_is_impossible_about_limits_and_budgets(tmp_path: Path) -> None:
    file = tmp_path / "tocsin.yaml"
    file.write_text("""\
workflows:
  support:
    sla: {tokens: 8000, success: 100%}
    stop: {tokens: 5000, warn_at: 90%, switch_at: 80%, switch: {gpt-4.1: gpt-4.1-mini}}
budgets:
  - {name: all, limit: 0 USD, timezone: Mars/Olympus, workflow: biling}
""")
    done = tocsin("check", str(file))
    expected = f"""\
{file}:3:25: workflows.support.sla.success: '100%' is not right here; \
write a share above 0 % and below 100 %, such as 99%
{file}:4:12: workflows.support.stop.tokens: 5,000 tokens is below the service level \
of 8,000 tokens; write that or more
{file}:4:26: workflows.support.stop.warn_at: 90% comes after switch_at; write 80% or less
{file}:6:17: budgets.0.limit: '0 USD' is not right here; write US dollars above 0, such as 50 USD
{file}:6:31: budgets.0.timezone: 'Mars/Olympus' is not right here; write a name such as \
Europe/Berlin (where the system has no time zones: pip install tzdata)
{file}:6:55: budgets.0.workflow: 'biling' is not under workflows, where there are: support; \
write one of them, or add it there, or "*" for all others
"""
    assert (1, "", expected) == (done.returncode, done.stdout, done.stderr)
    served = serve("--config", str(file), "--data", str(tmp_path / "data"), *FREE)
    assert (2, f"tocsin serve: {expected}") == (served.returncode, served.stderr)


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_says_where_it_listens_and_stops_when_told(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", CODE, "serve", "--data", str(tmp_path / "data"), *FREE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(4)]
        address = lines[1].removeprefix("HTTP on ").strip()
        assert "Prometheus Server is Ready.\n" == httpx.get(f"http://{address}/-/ready").text
        child.send_signal(number)
        assert 0 == child.wait(20)


@pytest.mark.e2e
def test_second_server_on_the_same_data_names_the_first(tmp_path: Path) -> None:
    with Receiver(tmp_path / "data") as first:
        done = serve("--data", str(tmp_path / "data"), *FREE)
    pid = first.process.pid
    assert 1 == done.returncode
    assert f"is in use by process {pid}; stop that process or choose another" in done.stderr


@pytest.mark.e2e
def test_taken_port_is_named(tmp_path: Path) -> None:
    with Receiver(tmp_path / "data") as first:
        address = first.addresses["OTLP/HTTP"]
        done = serve("--data", str(tmp_path / "other"), *FREE, "--otlp-http", address)
    assert 1 == done.returncode
    message = f"cannot listen on {address} (OTLP/HTTP): Address already in use"
    assert f"tocsin serve: {message}\n" in done.stderr


@pytest.mark.e2e
def test_sigterm_drains_what_was_accepted(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "data").ready()
    url = f"http://{receiver.addresses['OTLP/HTTP']}/v1/traces"
    ids = [number.to_bytes(8, "big") for number in range(200)]
    with httpx.Client(headers={"content-type": "application/x-protobuf"}) as client:
        for id_ in ids:
            assert 200 == client.post(url, content=request_of(id_)).status_code
        os.kill(receiver.process.pid, signal.SIGTERM)
    assert 0 == receiver.stop()
    store = SpanStore(tmp_path / "data" / "spans.db")
    assert sorted(id_.hex() for id_ in ids) == sorted(store.ids())
    store.close()
