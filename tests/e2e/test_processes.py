"""Real processes: how they exit, fork, share metrics, and are killed."""

import json
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from agents import OpenAIResponsesModel
from agents.run import get_default_agent_runner

from tests.fakes.process import SHARED_DIR, Start, free_port, scrape
from tocsin.app.watcher import EXIT_DEADLINE_S, Watcher

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(90)]

RUNS = "agent_workflow_runs_total"
ACTIVE = "agent_active_workflows"


def completions(path: Path) -> Counter[int]:
    """Completed runs by pid, from a FileClient's file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Counter(line[0] for line in lines if line[1] == "agent.workflow.completions_total")


class TestExit:
    def test_sends_all_that_happened(self, start: Start, tmp_path: Path) -> None:
        sent = tmp_path / "sent"
        program = start("exit_at_once", str(sent))

        assert 0 == program.exit_code(), program.errors
        assert {program.process.pid: 20} == completions(sent)
        alerts = [line for line in sent.read_text().splitlines() if "over the limit" in line]
        assert 20 == len(alerts)
        assert "" == program.errors

    def test_is_not_held_up_by_a_client_that_hangs(self, start: Start) -> None:
        program = start("exit_while_client_hangs")
        assert ["done"] == program.said()
        done_s = time.monotonic()

        assert 0 == program.exit_code(), program.errors
        assert time.monotonic() - done_s < EXIT_DEADLINE_S + 1.5

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT"])
    def test_by_a_signal_in_a_run_is_what_the_sender_expects(self, start: Start, name: str) -> None:
        program = start("hang_in_a_run")
        assert ["running"] == program.said()
        time.sleep(0.2)  # into the call that blocks; sooner would do as well
        program.process.send_signal(signal.Signals[name])

        assert -signal.Signals[name] == program.exit_code(EXIT_DEADLINE_S + 3)


class TestFork:
    def test_gives_the_child_a_worker_and_counts_of_its_own(self, start: Start) -> None:
        program = start("fork")

        assert [{"child": 3}, {"parent": 8}] == program.said(2)
        assert 0 == program.exit_code(), program.errors

    def test_child_without_agents_does_not_hold_the_port(self, start: Start) -> None:
        port = free_port()
        program = start("fork_idle_child", str(port))
        child = psutil.Process(program.said()[0])
        try:
            assert 0 == program.exit_code(), program.errors
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", port))
        finally:
            child.kill()

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_of_multiprocessing_flushes_at_exit(
        self, start: Start, tmp_path: Path, method: str
    ) -> None:
        sent = tmp_path / "sent"
        program = start("multiprocess", method, str(sent))

        assert 0 == program.exit_code(60), program.errors
        counted = completions(sent)
        assert 1 == counted.pop(program.process.pid)
        assert [4, 4] == list(counted.values())


class TestPort:
    def test_in_use_makes_one_warning_and_another_port(self, start: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            program = start("serve", str(port))
            (other,) = program.said()

            assert port != other
            assert 1 == scrape(other, RUNS)
            assert 1 == len(program.warnings)
            assert f"127.0.0.1:{other}" in program.warnings[0]

    def test_on_an_unknown_host_makes_one_warning_and_no_page(self, start: Start) -> None:
        program = start("serve", "0", "no-such-host.invalid")

        assert [None] == program.said()
        assert 1 == len(program.warnings), program.errors
        assert "no /metrics" in program.warnings[0]

    def test_that_is_no_port_is_a_wrong_setting(self, start: Start) -> None:
        program = start("serve", "70000")

        assert 1 == program.exit_code()
        assert "ConfigError: metrics_port: 70000 is not a port" in program.errors


class TestSharedDirectory:
    def test_that_is_a_file_leaves_local_metrics(self, start: Start, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        program = start("serve", "0", **{SHARED_DIR: str(file)})

        assert 1 == scrape(program.said()[0], RUNS), program.errors
        assert program.warnings

    def test_that_does_not_exist_is_made(self, start: Start, tmp_path: Path) -> None:
        folder = tmp_path / "not" / "yet"
        program = start("serve", "0", **{SHARED_DIR: str(folder)})

        assert 1 == scrape(program.said()[0], RUNS), program.errors
        assert list(folder.glob("tocsin-*.mp"))

    def test_that_is_full_leaves_local_metrics(self, start: Start, tmp_path: Path) -> None:
        program = start("serve_without_space", "0", **{SHARED_DIR: str(tmp_path)})

        assert 1 == scrape(program.said()[0], RUNS), program.errors
        assert any("not shared" in warning for warning in program.warnings)

    def test_with_a_garbage_file_leaves_the_others(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "tocsin-1-garbage.mp").write_bytes(b"\xc1 no metrics")
        program = start("serve", "0", **{SHARED_DIR: str(tmp_path)})

        assert 1 == scrape(program.said()[0], RUNS), program.errors
        assert any("tocsin-1-garbage.mp" in warning for warning in program.warnings)


def test_closing_gives_the_sdk_its_runner_and_models_back() -> None:
    runner = get_default_agent_runner()
    methods = [vars(OpenAIResponsesModel)[name] for name in ("_fetch_response", "stream_response")]

    watcher = Watcher()
    assert get_default_agent_runner() is not runner
    watcher.close()

    assert runner is get_default_agent_runner()
    assert methods == [
        vars(OpenAIResponsesModel)[name] for name in ("_fetch_response", "stream_response")
    ]
