"""Bodies whose length is a lie, or none, or far too much, sent as no library would."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.running_server import RunningServer
from tests.fakes.span_store import request_of

PROTOBUF = "application/x-protobuf"
LIMIT = 100_000
ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
SPANS = request_of(ID)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path, body_limit=LIMIT) as running:
        yield running


def is_taken(server: RunningServer) -> bool:
    headers = {"content-type": PROTOBUF}
    answer = httpx.post(server.url("/v1/traces"), content=SPANS, headers=headers, timeout=30)
    return answer.status_code == 200


def test_refused_body_is_let_in_so_that_its_sender_reads_why(server: RunningServer) -> None:
    size = 20 << 20  # far more than the buffers between the two hold
    body = bytes(size)
    header = f"Connection: close\r\nContent-Length: {size}"
    answers = [raw_post(server, header, body) for _ in range(5)]
    assert [b"HTTP/1.1 413 "] * 5 == [answer[:13] for answer in answers]
    server.server._intake._refusal = lambda: "behind"
    assert raw_post(server, header, body).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("declared", [str(1 << 60), str(LIMIT + 1)])
def test_body_that_declares_too_much_is_refused_before_it_is_sent(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    monkeypatch.setattr("tocsin.api.otlp.DISCARD_S", 0.1)
    assert raw_post(server, f"Content-Length: {declared}", b"abc").startswith(b"HTTP/1.1 413 ")


def test_body_longer_than_it_declares_disturbs_nobody(server: RunningServer) -> None:
    answer = raw_post(server, f"Content-Length: {len(SPANS)}", SPANS + bytes(LIMIT))
    # What follows is no request; whether the body was answered before it came is chance.
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    assert is_taken(server)
    assert [ID.hex()] == server.stored()


def test_chunks_without_end_are_refused_at_the_limit(server: RunningServer) -> None:
    chunk = b"%x\r\n%b\r\n" % (LIMIT, bytes(LIMIT))
    answer = raw_post(server, "Transfer-Encoding: chunked", 2 * chunk + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "declared",
    ["Content-Length: x", "Content-Length: -5", "Content-Length: 3\r\nContent-Length: 4"],
)
def test_length_that_is_none_is_refused(server: RunningServer, declared: str) -> None:
    assert raw_post(server, declared, b"abc").startswith(b"HTTP/1.1 400 ")
    assert is_taken(server)


def raw_post(server: RunningServer, header: str, body: bytes) -> bytes:
    """Send what no library would; return the beginning of the answer."""
    address = server.server.addresses["OTLP/HTTP"]
    with socket.create_connection(address, timeout=30) as connection:
        head = (
            f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n{header}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        return connection.recv(1000)
