import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from socketserver import BaseServer

import pytest
from prometheus_client import CollectorRegistry, Gauge

from tocsin.app import metrics_server
from tocsin.app.metrics_server import MetricsServer

Serve = Callable[..., MetricsServer]


@pytest.fixture(autouse=True)
def eager_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server that is told to stop notice it at once."""
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.005,))


@pytest.fixture
def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    Gauge("answer", "The answer.", registry=found).set(42)
    return found


@pytest.fixture
def serve(registry: CollectorRegistry) -> Iterator[Serve]:
    servers: list[MetricsServer] = []

    def start(port: int = 0, host: str = "127.0.0.1", is_shared: bool = False) -> MetricsServer:
        servers.append(MetricsServer(registry, host=host, port=port, is_shared=is_shared))
        servers[-1].ensure()
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield busy.getsockname()[1]


def page(server: MetricsServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_metrics_are_served(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    assert "answer 42.0" in page(serve())
    assert [] == caplog.messages


def test_taken_port_is_replaced_by_a_free_one_with_one_warning(
    serve: Serve, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(taken)
    for _ in range(3):
        server.ensure()

    assert "answer 42.0" in page(server)
    (message,) = caplog.messages
    assert (True, True) == (str(taken) in message, f"127.0.0.1:{server.port}" in message)


def test_shared_port_is_left_to_its_owner_without_a_word(
    serve: Serve, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert (None, []) == (serve(taken, is_shared=True).port, caplog.messages)


def test_shared_port_is_taken_over_when_its_owner_goes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "RETRY_EVERY_S", 0.0)
    owner = serve(is_shared=True)
    port = owner.port
    assert port is not None
    waiting = serve(port, is_shared=True)
    before = waiting.port
    owner.close()
    waiting.ensure()

    assert (None, port) == (before, waiting.port)
    assert "answer 42.0" in page(waiting)


def test_waiting_process_does_not_try_all_the_time(serve: Serve, taken: int) -> None:
    waiting = serve(taken, is_shared=True)
    again = waiting._retry_at_s
    waiting.ensure()

    assert again == waiting._retry_at_s


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_host_that_is_not_ours_is_logged_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, host: str, is_shared: bool
) -> None:
    server = serve(0, host=host, is_shared=is_shared)
    server.ensure()

    assert (None, 1) == (server.port, len(caplog.messages))
    assert f"no /metrics: {host}" in caplog.messages[0]


def test_closed_server_answers_no_more(serve: Serve) -> None:
    server = serve()
    url = f"http://127.0.0.1:{server.port}/metrics"
    server.close()

    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)
    assert server.port is None


def test_closing_twice_is_closing(serve: Serve) -> None:
    server = serve()
    server.close()
    server.close()
