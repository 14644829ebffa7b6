"""OTLP over gRPC, called as a sender does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.fakes.running_server import RunningServer
from tests.fakes.span_store import request_of
from tocsin.errors import ConfigError

LIMIT = 100_000
ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
SPANS = request_of(ID)
GZIP = grpc.Compression.Gzip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path, body_limit=LIMIT) as running:
        yield running


def export(
    server: RunningServer, body: bytes, service: str = "trace.v1.Trace", **how: Any
) -> bytes:
    path = f"/opentelemetry.proto.collector.{service}Service/Export"
    with grpc.insecure_channel(server.grpc_target) as channel:
        call: Any = channel.unary_unary(path)
        return bytes(call(body, timeout=20, **how))


def failure(server: RunningServer, body: bytes, **how: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        export(server, body, **how)
    return caught.value


@pytest.mark.parametrize("compression", [None, GZIP, grpc.Compression.Deflate])
def test_spans_are_stored(server: RunningServer, compression: Any) -> None:
    answer = export(server, SPANS, compression=compression)
    assert ExportTraceServiceResponse() == ExportTraceServiceResponse.FromString(answer)
    assert [ID.hex()] == server.stored()


def test_other_signals_are_dropped_with_a_warning(server: RunningServer) -> None:
    answer = ExportLogsServiceResponse.FromString(export(server, b"", "logs.v1.Logs"))
    assert "these logs were accepted and dropped" in answer.partial_success.error_message


def test_malformed_body_is_refused(server: RunningServer) -> None:
    error = failure(server, b"\xff\xff")
    assert grpc.StatusCode.INVALID_ARGUMENT is error.code()
    assert "no OTLP" in error.details()


@pytest.mark.parametrize(
    ("body", "compression"), [(bytes(LIMIT + 1), None), (bytes(100 * LIMIT), GZIP)]
)
def test_large_body_or_bomb_is_refused(
    server: RunningServer, body: bytes, compression: Any
) -> None:
    error = failure(server, body, compression=compression)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is error.code()
    assert "larger than max" in error.details()
    export(server, SPANS)
    assert [ID.hex()] == server.stored()


def test_unknown_method(server: RunningServer) -> None:
    error = failure(server, SPANS, service="profiles.v1.Profiles")
    assert grpc.StatusCode.UNIMPLEMENTED is error.code()


def test_busy_server_says_when_to_come_back(server: RunningServer) -> None:
    server.server._intake._refusal = lambda: "behind"
    error = failure(server, SPANS)
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "behind") == (error.code(), error.details())
    trailers = dict(error.trailing_metadata())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert (8, "behind", 1) == (status.code, status.message, info.retry_delay.seconds)
    assert info == RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"])


def test_message_waits_for_room_and_is_refused_where_none_comes(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.api.otlp_grpc.TURN_TIMEOUT_S", 0.2)
    room = server.server._intake.room
    with room.reserving() as reserve:
        reserve(room._free_bytes - 100)
        error = failure(server, request_of(ID, padding=200))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is error.code()
        assert "google.rpc.retryinfo-bin" in dict(error.trailing_metadata())
        export(server, SPANS)
    assert [ID.hex()] == server.stored()


def test_readers_are_few_and_the_next_one_is_told_to_come_back(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.api.otlp_grpc.TURN_TIMEOUT_S", 0.2)
    receiver: Any = server.server._grpc
    receiver._reading._value = 0
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is failure(server, SPANS).code()
    receiver._reading._value = 1
    export(server, SPANS)
    assert [ID.hex()] == server.stored()


def test_stopping_server_is_unavailable(server: RunningServer) -> None:
    server.server._intake.close()
    error = failure(server, SPANS)
    assert (grpc.StatusCode.UNAVAILABLE, "the server is stopping") == (
        error.code(),
        error.details(),
    )


def test_taken_port_is_named(server: RunningServer, tmp_path: Path) -> None:
    address = server.server.addresses["OTLP/gRPC"]
    second = RunningServer(tmp_path / "second", otlp_grpc=address)
    with (
        pytest.raises(ConfigError, match=rf"cannot listen on {address} \(OTLP over gRPC\)"),
        second,
    ):
        pass
