"""The whole server on a full disk, a damaged journal, a directory that somebody else has."""

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import httpx
import pytest

from tests.fakes.otlp import otlp_span, request
from tests.fakes.process import Start, starting, wait_for
from tests.fakes.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

MB = 1 << 20
PROTOBUF = {"content-type": "application/x-protobuf"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}
TOOL = {"gen_ai.operation.name": "execute_tool"}
BODIES = 20
CALLS = 400
TORN = "tocsin_journal_torn_bytes_total"
DAMAGED = 'tocsin_journal_records_total{outcome="damaged"}'
HOLD = """
import duckdb, sys
held = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with starting(tmp_path_factory.mktemp("programs")) as run:
        yield run


def body_of(number: int, calls: int = 3) -> bytes:
    """A run with tool calls below it, whose names cannot be compressed."""
    first = number << 16
    now_ns = time.time_ns()
    spans = [
        otlp_span(
            os.urandom(60).hex(),
            TOOL if place else AGENT,
            trace_id=number.to_bytes(16, "big"),
            span_id=(first + place).to_bytes(8, "big"),
            parent_span_id=first.to_bytes(8, "big") if place else b"",
            start_time_unix_nano=now_ns + place,
            end_time_unix_nano=now_ns + place + 1,
        )
        for place in range(calls + 1)
    ]
    return request(*spans).SerializeToString()


def post(server: ServerProcess, body: bytes) -> httpx.Response:
    return httpx.post(server.url("/v1/traces"), content=body, headers=PROTOBUF, timeout=60)


def is_drained(server: ServerProcess) -> bool:
    return "\ntocsin_journal_bytes 0.0" in server.metrics()


def stored(data: Path) -> Counter[int]:
    """How many spans are stored of each run; each span, and each run, is there once."""
    with duckdb.connect(str(data / "store" / "tocsin.duckdb"), read_only=True) as database:
        spans = database.sql("SELECT trace_id, span_id FROM spans").fetchall()
        runs = database.sql("SELECT trace_id FROM runs").fetchall()
    assert len(spans) == len(set(spans))
    found = Counter(int(trace_id, 16) for trace_id, _ in spans)
    assert sorted(found) == sorted(int(trace_id, 16) for (trace_id,) in runs)
    return found


# -- a full disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB, where we may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_full_disk_refuses_loses_nothing_and_heals_without_a_restart(
    small_disk: Path, start: Start
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(24 * MB))
    server = ServerProcess(start, small_disk / "data")
    numbers = itertools.count(1)
    acknowledged: list[int] = []

    def send() -> httpx.Response:
        number = next(numbers)
        answer = post(server, body_of(number, calls=CALLS))
        if answer.status_code == 200:
            acknowledged.append(number)
        return answer

    answers = iter(send, None)
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert acknowledged
    assert (503, "2") == (refused.status_code, refused.headers["retry-after"])
    assert b"No space left on device" in refused.content

    def store_refuses() -> bool:
        assert send().status_code in (200, 503)
        return "the disk of" in server.program.errors

    assert wait_for(store_refuses, 60)
    before = len(acknowledged)
    ballast.unlink()
    assert wait_for(lambda: send().status_code == 200 and len(acknowledged) > before + 5, 30)
    assert wait_for(lambda: is_drained(server), 60), server.program.errors
    assert 0 == server.stop()
    assert dict.fromkeys(acknowledged, CALLS + 1) == stored(server.data)
    assert "No space left on device; senders are told to try again later" in server.program.errors
    for recovered in ("can be written again", "the store takes rows again"):
        assert recovered in server.program.errors


# -- a damaged journal -----------------------------------------------------------------------------


def last_segment(data: Path) -> Path:
    return max((data / "journal").glob("*.journal"))


def tear(path: Path) -> None:
    """What a power cut in the middle of a write leaves."""
    with path.open("ab") as file:
        file.write(os.urandom(3000))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def flip(path: Path) -> None:
    """Damage the middle of the file: one of its records."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "lost", "signs"),
    [
        (tear, 0, ("bytes after record 20 are torn or damaged and were cut off", TORN)),
        (cut, 1, ("bytes after record 19 are torn or damaged and were cut off", TORN)),
        (flip, 1, ("are damaged; skipped", DAMAGED)),
    ],
)
def test_damaged_journal_costs_only_what_is_destroyed(
    tmp_path: Path, start: Start, damage: Callable[[Path], None], lost: int, signs: tuple[str, str]
) -> None:
    message, metric = signs
    server = ServerProcess(start, tmp_path / "data")
    for number in range(1, BODIES + 1):
        assert 200 == post(server, body_of(number)).status_code
    server.kill()
    path = last_segment(server.data)
    known = stored(server.data)
    damage(path)

    server = ServerProcess(start, server.data)
    assert 200 == post(server, body_of(BODIES + 1)).status_code
    assert wait_for(lambda: is_drained(server), 60)
    metrics = server.metrics()
    assert 0 == server.stop()
    found = stored(server.data)
    expected = set(range(1, BODIES + 2))
    assert {4} == set(found.values())
    assert found.keys() >= known.keys()
    assert len(expected) - lost <= len(found) <= len(expected)
    assert message in server.program.errors
    assert f"\n{metric} " in metrics
    assert f"\n{metric} 0.0" not in metrics


# -- a directory that somebody else has ------------------------------------------------------------


def test_second_server_names_the_first_and_harms_it_not(tmp_path: Path, start: Start) -> None:
    first = ServerProcess(start, tmp_path / "data")
    second = ServerProcess(start, tmp_path / "data", is_awaited=False)
    assert 1 == second.program.exit_code()
    pid = first.program.process.pid
    assert f"is in use by process {pid}; stop that process" in second.program.errors
    assert "Traceback" not in second.program.errors
    assert 200 == post(first, body_of(1)).status_code
    assert 0 == first.stop()


@contextlib.contextmanager
def held(path: Path) -> Iterator[int]:
    """Let another program open the database; give its process id."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield holder.pid
        finally:
            holder.kill()


def test_store_that_another_program_has_open_is_named(tmp_path: Path, start: Start) -> None:
    server = ServerProcess(start, tmp_path / "data")
    assert 200 == post(server, body_of(1)).status_code
    server.kill()
    with held(server.data / "store" / "tocsin.duckdb") as pid:
        refused = ServerProcess(start, server.data, is_awaited=False)
        assert 1 == refused.program.exit_code()
        assert f"is in use by process {pid} (" in refused.program.errors
        assert "Traceback" not in refused.program.errors
    server = ServerProcess(start, server.data)
    assert wait_for(lambda: is_drained(server), 60)
    assert 0 == server.stop()
    assert {1: 4} == stored(server.data)
