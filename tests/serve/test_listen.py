"""Addresses and listening sockets."""

import socket

import pytest

from tocsin.errors import ConfigError
from tocsin.model.address import Address
from tocsin.serve.listen import listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4318", Address("127.0.0.1", 4318)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:4317", Address("::1", 4317)),
    ],
)
def test_address_is_read_and_written(text: str, expected: Address) -> None:
    assert expected == Address.parse(text)
    assert text == str(expected)


@pytest.mark.parametrize("text", ["", "4318", ":4318", "host:", "host:x", "host:65536", "::1:4318"])
def test_bad_address_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        Address.parse(text)


def test_sockets_have_an_explicit_protocol() -> None:
    listener = listen(Address("127.0.0.1", 0), "--listen")
    assert socket.IPPROTO_TCP == listener.proto
    listener.close()


def test_taken_address_is_named() -> None:
    first = listen(Address("127.0.0.1", 0), "--listen")
    address = Address(*first.getsockname())
    with pytest.raises(ConfigError, match=rf"{address} \(--otlp-http\): Address already in use"):
        listen(address, "--otlp-http")
    first.close()


def test_unknown_host_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        listen(Address("no.such.host.invalid", 1), "--listen")
