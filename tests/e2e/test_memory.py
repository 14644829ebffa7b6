"""However much is sent at once, the server's memory is bounded, and it answers."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from tests.fakes.otlp import otlp_span, request
from tests.fakes.process import starting
from tests.fakes.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

MB = 1 << 20
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SECONDS = 6.0
SENDERS = 16
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
"""Any size, and a connection for each sender."""

BOUND_BYTES = 700 * MB
"""Half of it is the program, its database and what the consumer has in hand. The rest are bodies:
96 MB accepted, four being read, which gRPC holds up to three times, and two being decompressed."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with starting(tmp_path) as start:
        yield ServerProcess(start, tmp_path / "data")


def over_grpc(server: ServerProcess) -> Callable[[bytes], str]:
    channel = grpc.insecure_channel(server.addresses["OTLP/gRPC"], options=OPTIONS)
    call: Any = channel.unary_unary(EXPORT)

    def send(body: bytes) -> str:
        try:
            call(body, timeout=60)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    return send


def over_http(server: ServerProcess) -> Callable[[bytes], str]:
    url = f"http://{server.addresses['OTLP/HTTP']}/v1/traces"
    headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
    return lambda body: str(httpx.post(url, content=body, headers=headers, timeout=60).status_code)


class Load:
    """Threads that send for a while, and what they were answered."""

    def __init__(self, server: ServerProcess) -> None:
        self.answers: Counter[str] = Counter()
        self.peak_bytes = 0
        self._process = psutil.Process(server.program.process.pid)
        self._threads: list[threading.Thread] = []
        self._deadline = time.monotonic() + SECONDS

    def add(self, send: Callable[[bytes], str], *bodies: bytes) -> None:
        """Let one thread per body send it again and again."""
        for body in bodies:
            thread = threading.Thread(target=self._repeat, args=(send, body), daemon=True)
            self._threads.append(thread)
            thread.start()

    def watch(self) -> None:
        """Return when all have ended."""
        while any(thread.is_alive() for thread in self._threads):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            time.sleep(0.01)

    def _repeat(self, send: Callable[[bytes], str], body: bytes) -> None:
        while time.monotonic() < self._deadline:
            self.answers[send(body)] += 1


def large_body(number: int) -> bytes:
    trace_id = (number + 1).to_bytes(16, "big")
    return request(otlp_span("x" * 15 * MB, trace_id=trace_id)).SerializeToString()


def test_memory_is_bounded_while_many_send_large_bodies_and_bombs(server: ServerProcess) -> None:
    plain = [large_body(number) for number in range(SENDERS)]
    packed = [gzip.compress(body, 1) for body in plain[:4]]
    bomb = gzip.compress(bytes(200 * MB), 1)
    load = Load(server)
    for body in plain:
        load.add(over_grpc(server), body)
    load.add(over_http(server), *packed, *[bomb] * 4)
    load.watch()
    assert load.peak_bytes < BOUND_BYTES
    assert load.answers.keys() <= {"OK", "RESOURCE_EXHAUSTED", "200", "413", "503"}
    assert load.answers["OK"] > 0
    assert load.answers["413"] > 0
    assert 0 == server.stop()
