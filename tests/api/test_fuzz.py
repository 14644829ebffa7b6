"""Whatever bytes come in: an answer with a reason, and a server that goes on."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.running_server import RunningServer
from tests.fakes.span_store import request_of
from tocsin.api.compression import decompress, zstd
from tocsin.api.refusal import RefusedError
from tocsin.api.wellformed import check
from tocsin.errors import DecodeError

IDS = [number.to_bytes(8, "big") for number in range(1, 20)]
SEED = request_of(*IDS, padding=20)
TYPES = st.sampled_from(["application/x-protobuf", "application/json", "text/html", ""])
ENCODINGS = st.sampled_from(["", "gzip", "zstd", "deflate", "identity", "br", "gzip,gzip"])
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


@st.composite
def mutations(draw: st.DrawFn, seed: bytes = SEED) -> bytes:
    """A valid body with a few bytes changed, removed, repeated or inserted."""
    data = bytearray(draw(st.sampled_from([seed, b'{"resourceSpans":[{"scopeSpans":[]}]}'])))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        piece = draw(st.binary(max_size=8))
        match draw(st.sampled_from(["set", "cut", "insert", "repeat", "truncate"])):
            case "set":
                data[at : at + len(piece)] = piece
            case "cut":
                del data[at : at + 5]
            case "insert":
                data[at:at] = piece
            case "repeat":
                data += data[at : at + 200]
            case _:
                del data[at:]
    return bytes(data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("fuzz"), body_limit=100_000) as running:
        yield running
        good = request_of(b"survived")
        headers = {"content-type": "application/x-protobuf"}
        answer = httpx.post(running.url("/v1/traces"), content=good, headers=headers)
        assert 200 == answer.status_code
    assert b"survived".hex() in running.stored()


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(st.binary(max_size=300), mutations()),
    kind=TYPES,
    encoding=ENCODINGS,
    compressed=st.booleans(),
)
def test_any_bytes_get_an_answer(
    server: RunningServer, body: bytes, kind: str, encoding: str, compressed: bool
) -> None:
    if compressed and encoding in COMPRESS:
        body = COMPRESS[encoding](body)
    headers = {"content-type": kind, "content-encoding": encoding}
    answer = httpx.post(server.url("/v1/traces"), content=body, headers=headers)
    assert answer.status_code in (200, 400, 413, 415)
    assert answer.status_code == 200 or answer.content


@given(body=st.one_of(st.binary(), mutations(gzip.compress(SEED)), mutations(zstd.compress(SEED))))
@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_decompression_ends_or_refuses(encoding: str, body: bytes) -> None:
    with suppress(RefusedError):
        assert len(decompress(body, encoding, 1000)) <= 1000


@given(body=st.one_of(st.binary(), mutations()))
@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json"])
def test_check_passes_or_refuses(kind: str, body: bytes) -> None:
    with suppress(DecodeError):
        check(body, kind)
