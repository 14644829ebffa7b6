"""A whole server under a minute of damaged requests: it answers, goes on, and counts."""

import gzip
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import psutil
import pytest

from tests.fakes.mutations import as_json, mutate
from tests.fakes.otlp import otlp_span, request
from tests.fakes.process import starting, wait_for
from tests.fakes.recordings import RECORDINGS
from tests.fakes.server_process import ServerProcess
from tocsin.api.compression import zstd

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(300)]

SECONDS: Final = 60 if os.environ.get("CI") else 5
MAX_RSS: Final = 600 << 20
ANSWERS: Final = {200, 400, 413, 415}
"""And 503, with when to come back."""
CODES: Final = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
PROTOBUF, JSON = "application/x-protobuf", "application/json"
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def seeds(now_ns: int) -> list[tuple[str, bytes]]:
    """Whole requests of every sort, with their content types."""
    at: dict[str, Any] = {"start_time_unix_nano": now_ns, "end_time_unix_nano": now_ns + 10**8}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 300}
    broke = [("exception", 5, {"exception.type": "openai.RateLimitError"})]
    many = {f"attribute.{number}": number for number in range(10_000)}
    made = request(
        otlp_span("agent", {"gen_ai.operation.name": "invoke_agent"}, **at),
        otlp_span("chat", chat, events=broke, error="Error code: 429", **at),
        otlp_span("tool", {"openinference.span.kind": "TOOL", "x": [1, {"b": 2.5}]}, **at),
        otlp_span("no id", {"gen_ai.operation.name": "chat"}, trace_id=b"short"),
        otlp_span("no time", start_time_unix_nano=0, end_time_unix_nano=0),
        otlp_span("future", start_time_unix_nano=1 << 63, end_time_unix_nano=1 << 63),
        resource={"service.name": "shop"},
    )
    large = request(otlp_span("chat", {**chat, **many}, **at))
    found = [(PROTOBUF, made.SerializeToString()), (JSON, as_json(made))]
    found.append((PROTOBUF, large.SerializeToString()))
    not_text = made.SerializeToString().replace(b"shop", b"\xff\xfe\xfd\xfc")
    found.append((PROTOBUF, not_text))
    recorded = sorted(RECORDINGS.glob("*.pb"))[::3]
    found += [(PROTOBUF, path.read_bytes()[: 1 << 18]) for path in recorded]
    for path in sorted(RECORDINGS.glob("*_*.json"))[::5]:
        scenarios = json.loads(path.read_text()).get("scenarios", {})
        found += [(JSON, json.dumps(one).encode()) for one in list(scenarios.values())[:2]]
    return found


def damaged(chance: random.Random, whole: list[tuple[str, bytes]]) -> tuple[dict[str, str], bytes]:
    """A request's headers and body, with something wrong in nearly all of them."""
    kind, body = chance.choice(whole)
    match chance.randrange(6):
        case 0:
            body = chance.randbytes(chance.randrange(400))
        case 1:
            pass
        case _:
            body = mutate(body, chance)
    if chance.random() < 0.1:
        kind = chance.choice((PROTOBUF, JSON, "text/html", ""))
    headers = {"content-type": kind}
    if chance.random() < 0.4:
        encoding = chance.choice(("gzip", "zstd"))
        body = gzip.compress(body, 1) if encoding == "gzip" else zstd.compress(body)
        if chance.random() < 0.5:
            body = mutate(body, chance)
        headers["content-encoding"] = encoding
    return headers, body


def bombs() -> list[tuple[dict[str, str], bytes]]:
    zeros = bytes(200 << 20)
    return [
        ({"content-type": PROTOBUF, "content-encoding": "gzip"}, gzip.compress(zeros, 9)),
        ({"content-type": PROTOBUF, "content-encoding": "zstd"}, zstd.compress(zeros)),
        ({"content-type": PROTOBUF}, b"\x0a\x00" * (7 << 20)),
        ({"content-type": JSON}, b"[" * (8 << 20)),
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with starting(tmp_path) as start:
        yield ServerProcess(start, tmp_path / "data")


def test_any_bytes_over_http_and_grpc(server: ServerProcess) -> None:
    chance = random.Random(81)
    whole = seeds(time.time_ns())
    process = psutil.Process(server.program.process.pid)
    url = f"http://{server.addresses['OTLP/HTTP']}/v1/traces"
    answers: Counter[object] = Counter()
    until = time.monotonic() + SECONDS
    with (
        httpx.Client(timeout=60) as client,
        grpc.insecure_channel(server.addresses["OTLP/gRPC"]) as channel,
    ):
        export: Any = channel.unary_unary(EXPORT)
        for headers, body in bombs():
            answers[post(client, url, headers, body)] += 1
        while time.monotonic() < until:
            for _ in range(20):
                answers[post(client, url, *damaged(chance, whole))] += 1
            answers[code := call(export, damaged(chance, whole)[1])] += 1
            assert code in CODES
            assert process.memory_info().rss < MAX_RSS

        assert {200, 400} < answers.keys()
        assert answers.keys() & {"OK", "INVALID_ARGUMENT"}
        check_that_it_goes_on(client, server, url)


def post(client: httpx.Client, url: str, headers: dict[str, str], body: bytes) -> int:
    answer = client.post(url, headers=headers, content=body)
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.05)
    else:
        assert answer.status_code in ANSWERS, answer.text
        assert answer.status_code == 200 or answer.content
    return answer.status_code


def call(export: Any, body: bytes) -> str:
    try:
        export(body, timeout=60)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def check_that_it_goes_on(client: httpx.Client, server: ServerProcess, url: str) -> None:
    now_ns = time.time_ns()
    good = otlp_span(
        "chat",
        {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 77},
        trace_id=b"survivor" * 2,
        span_id=b"survivor",
        start_time_unix_nano=now_ns,
        end_time_unix_nano=now_ns + 5,
    )
    body = request(good).SerializeToString()
    assert wait_for(lambda: post(client, url, {"content-type": PROTOBUF}, body) == 200, 60)
    run = f"http://{server.addresses['HTTP']}/api/v1/runs/{b'survivor'.hex()}"
    assert wait_for(lambda: client.get(run).status_code == 200, 120), server.program.errors[-2000:]
    assert 77 == client.get(run).json()["run"]["input_tokens"]
    skipped = [line for line in server.metrics().splitlines() if "spans_skipped_total{" in line]
    assert {"trace_id", "no_time", "future"} <= {line.split('"')[1] for line in skipped}
    assert "Traceback" not in server.program.errors, server.program.errors[-3000:]
    assert 0 == server.stop()
