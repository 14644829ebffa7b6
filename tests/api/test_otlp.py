"""OTLP over HTTP: what is accepted, what is refused, and in which words."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.fakes.running_server import RunningServer
from tests.fakes.span_store import request_of
from tocsin.api.compression import zstd

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
LIMIT = 100_000
ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
SPANS = request_of(ID)
JSON_SPANS = json.dumps(
    {"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": ID.hex(), "name": "é"}]}]}]}
).encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path, body_limit=LIMIT) as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("shared"), body_limit=LIMIT) as running:
        yield running
    assert [] == running.stored()


def post(
    server: RunningServer,
    body: Any,
    *,
    kind: str = PROTOBUF,
    path: str = "/v1/traces",
    **headers: str,
) -> httpx.Response:
    sent = {"content-type": kind} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return httpx.post(server.url(path), content=body, headers=sent, timeout=30)


@pytest.mark.parametrize("purpose", ["OTLP/HTTP", "HTTP"])
def test_protobuf_is_stored(server: RunningServer, purpose: str) -> None:
    url = server.url("/v1/traces", purpose)
    response = httpx.post(url, content=SPANS, headers={"content-type": PROTOBUF})
    assert (200, PROTOBUF) == (response.status_code, response.headers["content-type"])
    assert ExportTraceServiceResponse() == ExportTraceServiceResponse.FromString(response.content)
    assert [ID.hex()] == server.stored()


def test_json_is_stored(server: RunningServer) -> None:
    response = post(server, JSON_SPANS, kind="application/json; charset=utf-8")
    assert (200, JSON, {}) == (
        response.status_code,
        response.headers["content-type"],
        response.json(),
    )
    assert [ID.hex()] == server.stored()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("zstd", zstd.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
def test_compressed_bodies_are_stored(server: RunningServer, encoding: str, compress: Any) -> None:
    assert 200 == post(server, compress(SPANS), content_encoding=encoding).status_code
    assert (
        200 == post(server, compress(JSON_SPANS), kind=JSON, content_encoding=encoding).status_code
    )
    assert 2 * [ID.hex()] == server.stored()


def test_chunked_body_is_stored(server: RunningServer) -> None:
    assert 200 == post(server, iter([SPANS[:5], SPANS[5:]])).status_code
    assert [ID.hex()] == server.stored()


def test_repeated_body_is_stored_once(server: RunningServer) -> None:
    answers = [
        post(server, gzip.compress(SPANS, level), content_encoding="gzip") for level in (1, 9)
    ]
    assert [200, 200] == [answer.status_code for answer in answers]
    assert [ID.hex()] == server.stored()


def test_empty_request_is_fine(server: RunningServer) -> None:
    assert 200 == post(server, b"").status_code
    assert 200 == post(server, b"{}", kind=JSON).status_code


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_other_signals_are_accepted_and_dropped_with_a_warning(
    server: RunningServer, signal: str
) -> None:
    binary = post(server, b"", path=f"/v1/{signal}")
    warning = ExportMetricsServiceResponse.FromString(binary.content).partial_success
    assert (200, 0) == (binary.status_code, warning.rejected_data_points)
    assert f"these {signal} were accepted and dropped" in warning.error_message
    text = post(server, b"{}", path=f"/v1/{signal}", kind=JSON).json()["partialSuccess"]
    assert warning.error_message == text["errorMessage"]
    metrics = httpx.get(server.url("/metrics", "HTTP")).text
    assert f'tocsin_otlp_dropped_total{{signal="{signal}"}} 2.0' in metrics


BOMB = bytes(50 * LIMIT)
REFUSED = [
    (400, "bad wire type", b"\x0f", PROTOBUF, ""),
    (400, "cut off", SPANS[:-1], PROTOBUF, ""),
    (400, "bad number", b"\xff" * 30, PROTOBUF, ""),
    (400, "bad field", b"\x08\x01", PROTOBUF, ""),
    (400, "no OTLP in JSON", b"{", JSON, ""),
    (400, "no OTLP in JSON", b"[]", JSON, ""),
    (400, "no OTLP in JSON", b'{"resourceSpans": 5}', JSON, ""),
    (400, "", b"[" * 90_000, JSON, ""),
    (400, "", b'{"resourceSpans":' + b"[" * 90_000, JSON, ""),
    (400, "", b'{"x": "\xff"}', JSON, ""),
    (400, "broken", SPANS, PROTOBUF, "gzip"),
    (400, "broken", SPANS, PROTOBUF, "zstd"),
    (400, "ends too early", gzip.compress(SPANS)[:-9], PROTOBUF, "gzip"),
    (400, "ends too early", gzip.compress(SPANS)[:3], PROTOBUF, "gzip"),
    (400, "ends too early", b"", PROTOBUF, "gzip"),
    (400, "ends too early", zstd.compress(SPANS)[:-2], PROTOBUF, "zstd"),
    (400, "follow its end", gzip.compress(SPANS) * 2, PROTOBUF, "gzip"),
    (400, "follow its end", zstd.compress(SPANS) + b"x", PROTOBUF, "zstd"),
    (413, f"more than {LIMIT} bytes", bytes(LIMIT + 1), PROTOBUF, ""),
    (413, f"more than {LIMIT} bytes", iter([bytes(LIMIT), b"x"]), PROTOBUF, ""),
    (413, f"more than {LIMIT} bytes", gzip.compress(BOMB), PROTOBUF, "gzip"),
    (413, f"more than {LIMIT} bytes", zstd.compress(BOMB), PROTOBUF, "zstd"),
    (413, f"more than {LIMIT} bytes", zlib.compress(BOMB), PROTOBUF, "deflate"),
    (415, "application/x-protobuf or application/json", SPANS, "text/plain", ""),
    (415, "application/x-protobuf or application/json", SPANS, "", ""),
    (415, "send gzip, zstd, deflate or none", SPANS, PROTOBUF, "br"),
    (415, "send gzip, zstd, deflate or none", SPANS, PROTOBUF, "gzip, gzip"),
]


@pytest.mark.parametrize(("code", "reason", "body", "kind", "encoding"), REFUSED)
def test_bad_input_is_refused_with_a_reason(
    shared_server: RunningServer, code: int, reason: str, body: Any, kind: str, encoding: str
) -> None:
    headers = {"content_encoding": encoding} if encoding else {}
    if not isinstance(body, bytes):
        body = iter([bytes(LIMIT), b"x"])  # an iterator is used up by its first run
    response = post(shared_server, body, kind=kind, **headers)
    assert code == response.status_code
    assert "retry-after" not in response.headers
    if kind == PROTOBUF:
        message = Status.FromString(response.content).message
    else:
        message = response.json()["message"]
    assert message
    assert reason in message


def test_zstd_window_is_bounded(server: RunningServer) -> None:
    parameter = zstd.CompressionParameter
    options = {int(parameter.window_log): 27, int(parameter.content_size_flag): 0}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(SPANS) + compressor.flush()
    assert 400 == post(server, body, content_encoding="zstd").status_code


def test_wrong_method_and_path(server: RunningServer) -> None:
    assert 405 == httpx.get(server.url("/v1/traces")).status_code
    assert 404 == httpx.post(server.url("/v1/other")).status_code
    assert 404 == httpx.get(server.url("/metrics")).status_code


def test_answers_are_counted(server: RunningServer) -> None:
    post(server, SPANS)
    post(server, b"\xff")
    metrics = httpx.get(server.url("/metrics", "HTTP")).text
    prefix = 'tocsin_otlp_requests_total{code="%s",protocol="http",signal="traces"} 1.0'
    assert prefix % 200 in metrics
    assert prefix % 400 in metrics
    size = len(SPANS) + 1
    assert f'tocsin_otlp_bytes_total{{protocol="http",signal="traces"}} {size}.0' in metrics


def test_body_that_stops_arriving_is_given_up(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.api.otlp.BODY_TIMEOUT_S", 0.1)
    address = server.server.addresses["OTLP/HTTP"]
    with socket.create_connection(address, timeout=10) as connection:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\nabc".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_sender_that_hangs_up_disturbs_nobody(server: RunningServer) -> None:
    address = server.server.addresses["OTLP/HTTP"]
    for cut in (10, 60, 130):
        with socket.create_connection(address, timeout=10) as connection:
            head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
            connection.sendall(f"{head}Content-Length: 100\r\n\r\nabc".encode()[:cut])
    assert 200 == post(server, SPANS).status_code


def test_full_journal_says_when_to_come_back(tmp_path: Path) -> None:
    store = HeldStore()
    with RunningServer(tmp_path, store.wire, journal_bytes=400_000, drain_s=0.1) as server:
        number, answer = 0, post(server, SPANS)
        while answer.status_code == 200 and number < 100:
            number += 1
            answer = post(server, request_of(number.to_bytes(8, "big"), padding=10_000))
        assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
        status = Status.FromString(answer.content)
        info = RetryInfo()
        assert status.details[0].Unpack(info)
        assert (8, 1) == (status.code, info.retry_delay.seconds)
        assert "wait to be processed" in status.message
        details = post(server, b"{}", kind=JSON).json()["details"]
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        assert [{"@type": kind, "retryDelay": "1s"}] == details

        store.release()
        deadline = time.monotonic() + 10
        while post(server, SPANS).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 200 == post(server, SPANS).status_code
    assert number == len(set(store.rows))


def test_too_much_at_once_is_told_to_wait(server: RunningServer) -> None:
    server.server._intake.room._free_bytes = 1000
    answer = post(server, request_of(ID, padding=5000))
    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert 200 == post(server, SPANS).status_code


class HeldStore:
    """A store that takes nothing until it is released."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self._held = True
        self._position = 0

    def release(self) -> None:
        self._held = False

    def position(self) -> int:
        return self._position

    def commit(self, batch: Any, position: int) -> None:
        from tocsin.errors import StoreError

        if self._held:
            raise StoreError("the store is locked")
        self.rows += batch
        self._position = position

    def idle(self) -> None:
        pass

    def wire(self, _settings: Any, _data: Path, _registry: Any) -> Any:
        from tests.fakes.span_store import span_ids
        from tocsin.api.wellformed import check
        from tocsin.serve.wiring import Wiring

        return Wiring(check=check, process=span_ids, store=self, description="held")
