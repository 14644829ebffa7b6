"""Real exporters, a full disk, a locked store."""

import itertools
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from tests.fakes.receiver import Receiver
from tests.fakes.running_server import RunningServer
from tests.fakes.span_store import SpanStore, request_of

pytestmark = pytest.mark.e2e

PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path) as running:
        yield running


def trace(exporter: SpanExporter, count: int = 600) -> list[str]:
    """Send spans as a program does; return their ids."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    ids = []
    for number in range(count):
        with tracer.start_as_current_span("chat", attributes={"number": number}) as span:
            ids.append(f"{span.get_span_context().span_id:016x}")
    assert provider.force_flush()
    provider.shutdown()
    return ids


def exporters(server: RunningServer) -> dict[str, SpanExporter]:
    url = server.url("/v1/traces")
    return {
        "http": HttpExporter(endpoint=url),
        "http gzip": HttpExporter(endpoint=url, compression=Compression.Gzip),
        "http deflate": HttpExporter(endpoint=url, compression=Compression.Deflate),
        "page": HttpExporter(endpoint=server.url("/v1/traces", "HTTP")),
        "grpc": GrpcExporter(endpoint=server.grpc_target, insecure=True),
        "grpc gzip": GrpcExporter(
            endpoint=server.grpc_target, insecure=True, compression=_grpc_gzip()
        ),
    }


def _grpc_gzip() -> Any:
    import grpc

    return grpc.Compression.Gzip


@pytest.mark.parametrize("name", ["http", "http gzip", "http deflate", "page", "grpc", "grpc gzip"])
def test_real_exporters_are_understood(server: RunningServer, name: str) -> None:
    sent = trace(exporters(server)[name])
    assert sorted(sent) == sorted(server.stored())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["http", "grpc"])
def test_real_exporters_come_back_when_told_to_wait(server: RunningServer, name: str) -> None:
    answers = iter(["behind", "behind"])
    server.server._intake._refusal = lambda: next(answers, None)
    sent = trace(exporters(server)[name], 10)
    assert sorted(sent) == sorted(server.stored())


def test_locked_store_costs_nothing(server: RunningServer) -> None:
    other = sqlite3.connect(server.data / "spans.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ids = [number.to_bytes(8, "big") for number in range(100)]
    for id_ in ids:
        answer = httpx.post(server.url("/v1/traces"), content=request_of(id_), headers=PROTOBUF)
        assert 200 == answer.status_code
    metrics = server.url("/metrics", "HTTP")
    deadline = time.monotonic() + 10
    while "tocsin_store_retries_total 0.0" in httpx.get(metrics).text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "tocsin_journal_lag_seconds 0.0\n" not in httpx.get(metrics).text
    other.execute("ROLLBACK")
    other.close()
    assert sorted(id_.hex() for id_ in ids) == sorted(server.stored())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(tmp_path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
def test_full_disk_refuses_and_loses_nothing(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    receiver = Receiver(small_disk / "data", journal_bytes=1 << 30).ready()
    url = f"http://{receiver.addresses['OTLP/HTTP']}/v1/traces"
    acknowledged = []
    numbers = itertools.count()

    def post() -> httpx.Response:
        id_ = next(numbers).to_bytes(8, "big")
        answer = httpx.post(url, content=request_of(id_, padding=100_000), headers=PROTOBUF)
        if answer.status_code == 200:
            acknowledged.append(id_.hex())
        return answer

    answer = post()
    while answer.status_code == 200:
        answer = post()
    assert (503, "2") == (answer.status_code, answer.headers["retry-after"])
    assert b"No space left on device" in answer.content
    for _ in range(20):
        assert 503 == post().status_code
    ballast.unlink()
    assert [200] * 5 == [post().status_code for _ in range(5)]
    assert 0 == receiver.stop()
    assert (
        "No space left on device; senders are told to try again later" in receiver.log.read_text()
    )

    store = SpanStore(small_disk / "data" / "spans.db")
    stored = Counter(store.ids())
    store.close()
    assert Counter(acknowledged) == stored
