"""How fast a real server acknowledges spans that it has made durable.

    python bench/ingest.py [--seconds 20] [--rate SPANS_PER_S] [--protocol grpc] [--encoding gzip]

A sender in a process of its own posts prebuilt bodies (500 spans of 1.2 kB) to a server in another.
No two bodies are equal, or the journal would know them again.
"""

import argparse
import asyncio
import gzip
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

SPANS = 500
SPAN_BYTES = 1200
MARK = b"\x00\x00\x00\x00\xca\xfe\xba\xbe\x00\x00\x00\x00\x00\x00\x00\x01"
TARGETS = "targets: >= 20,000 spans/s, p99 < 250 ms, < 400 MB, idle < 150 MB"

Send = Callable[[bytes], Awaitable[float]]
"""Posts a body; returns 0, or how many seconds to wait before trying again."""


def build_bodies(count: int) -> list[bytes]:
    """Make export requests whose first trace id is MARK."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    random.seed(1)
    bodies = []
    for _ in range(count):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        service = resource.resource.attributes.add()
        service.key, service.value.string_value = "service.name", "bench"
        scope = resource.scope_spans.add()
        for number in range(SPANS):
            _fill(scope.spans.add(), number)
        bodies.append(request.SerializeToString())
    return bodies


def _fill(span: Any, number: int) -> None:
    span.trace_id = MARK if number == 0 else random.randbytes(16)
    span.span_id, span.parent_span_id = random.randbytes(8), random.randbytes(8)
    span.name, span.kind = "chat gpt-4.1", 3
    span.start_time_unix_nano = 1_700_000_000_000_000_000 + number
    span.end_time_unix_nano = span.start_time_unix_nano + 1_500_000_000
    texts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.response.model": "gpt-4.1-2025-04-14",
        "gen_ai.response.id": f"chatcmpl-{random.randbytes(12).hex()}",
        "gen_ai.workflow.name": f"workflow-{number % 20}",
        "gen_ai.conversation.id": random.randbytes(16).hex(),
        "gen_ai.agent.name": f"agent-{number % 7}",
    }
    numbers = {"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 300}
    for key, text in texts.items():
        attribute = span.attributes.add()
        attribute.key, attribute.value.string_value = key, text
    for key, amount in numbers.items():
        attribute = span.attributes.add()
        attribute.key, attribute.value.int_value = key, amount + number
    filler = span.attributes.add()
    filler.key = "gen_ai.output.messages"
    filler.value.string_value = random.randbytes((SPAN_BYTES - span.ByteSize()) // 2 - 20).hex()


class HttpSender:
    """One kept connection, with as little work per request as possible."""

    def __init__(self, port: int, encoding: str) -> None:
        self._port, self._encoding = port, encoding
        self._streams: Any = None

    async def post(self, body: bytes) -> float:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        extra = f"Content-Encoding: {self._encoding}\r\n" if self._encoding else ""
        head = (
            "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/x-protobuf\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        writer.write(body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", answer).group(1))  # type: ignore[union-attr]
        await reader.readexactly(length)
        if answer.startswith(b"HTTP/1.1 200"):
            return 0.0
        if not answer.startswith(b"HTTP/1.1 503"):
            raise SystemExit(answer.decode())
        return float(re.search(rb"retry-after: (\d+)", answer).group(1))  # type: ignore[union-attr]


def grpc_sender(port: int, encoding: str) -> Send:
    """Return a function that posts over a channel of its own."""
    import grpc
    import grpc.aio

    pool = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=pool)
    call: Any = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    compression = grpc.Compression.Gzip if encoding == "gzip" else grpc.Compression.NoCompression

    async def post(body: bytes) -> float:
        try:
            await call(body, compression=compression)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return 1.0
        return 0.0

    return post


async def send(options: argparse.Namespace) -> dict[str, float]:
    """Post for some seconds over some connections; return figures."""
    bodies = build_bodies(8)
    stop = time.perf_counter() + options.seconds
    latencies: list[float] = []
    counter, refused = 0, 0
    start = time.perf_counter()

    async def work(post: Send) -> None:
        nonlocal counter, refused
        while True:
            counter += 1
            due = start + (counter - 1) * SPANS / options.rate if options.rate else 0.0
            if due < stop:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            body = bodies[counter % len(bodies)].replace(MARK, os.urandom(16), 1)
            if options.encoding == "gzip" and options.protocol == "http":
                body = gzip.compress(body, 1)
            sent = due or time.perf_counter()  # from when it should have gone
            if max(due, time.perf_counter()) >= stop:
                return
            while wait_s := await post(body):
                refused += 1
                await asyncio.sleep(wait_s)
            latencies.append(time.perf_counter() - sent)

    if options.protocol == "grpc":
        posts = [grpc_sender(options.port, options.encoding) for _ in range(options.connections)]
    else:
        posts = [
            HttpSender(options.port, options.encoding).post for _ in range(options.connections)
        ]
    await asyncio.gather(*map(work, posts))
    elapsed = time.perf_counter() - start
    latencies.sort()
    return {
        "bodies_s": len(latencies) / elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "max_ms": latencies[-1] * 1e3,
        "refused": refused,
        "body_kb": len(bodies[0]) / 1e3,
    }


def serve(data: Path) -> int:
    """Run the server; every address gets a free port."""
    from tocsin.model.address import Address
    from tocsin.serve.command import run_server
    from tocsin.serve.options import ServerOptions
    from tocsin.serve.wiring import null_wiring

    free = Address("127.0.0.1", 0)
    options = ServerOptions(data=data, listen=free, otlp_http=free, otlp_grpc=free)
    return run_server(options, null_wiring)


def measure(options: argparse.Namespace) -> None:
    """Start a server, have it sent to, print figures."""
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="tocsin-bench-") as data:
        command = [sys.executable, __file__, "--serve", data]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            lines = [server.stdout.readline().strip() for _ in range(4)]
            _measure(options, server.pid, lines)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _measure(options: argparse.Namespace, pid: int, lines: list[str]) -> None:
    purpose = "OTLP/gRPC" if options.protocol == "grpc" else "OTLP/HTTP"
    port = next(line for line in lines if line.startswith(purpose)).rpartition(":")[2]
    process = psutil.Process(pid)
    time.sleep(1)
    idle = process.memory_info().rss
    sender = subprocess.Popen(
        [sys.executable, __file__, "--send", *sys.argv[1:], "--port", port],
        stdout=subprocess.PIPE,
        text=True,
    )
    peak, cpu = idle, process.cpu_times()
    while sender.poll() is None:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.2)
    used = process.cpu_times()
    assert sender.stdout is not None
    found = dict(pair.split("=") for pair in sender.stdout.read().split())
    bodies_s = float(found["bodies_s"])
    print(
        f"{lines[0]}\n{options.protocol} {options.encoding or 'identity'}, {options.seconds:g} s, "
        f"{options.connections} connections, bodies of {float(found['body_kb']):.0f} kB, "
        + (f"{options.rate:,.0f} spans/s offered" if options.rate else "as fast as answered")
    )
    print(f"durable: {bodies_s:.1f} bodies/s, {bodies_s * SPANS:,.0f} spans/s")
    print(
        f"acknowledged after: p50 {float(found['p50_ms']):.1f} ms, "
        f"p99 {float(found['p99_ms']):.1f} ms, most {float(found['max_ms']):.1f} ms"
    )
    print(f"told to wait: {float(found['refused']):.0f} times")
    busy = (used.user + used.system - cpu.user - cpu.system) / options.seconds
    print(f"memory: idle {idle >> 20} MB, peak {peak >> 20} MB; {busy:.2f} cores")
    print(TARGETS)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=0, help="spans/s; 0: as fast as answered")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--protocol", choices=("http", "grpc"), default="http")
    parser.add_argument("--encoding", choices=("", "gzip"), default="")
    parser.add_argument("--dir", help="where the journal is written")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        raise SystemExit(serve(options.serve))
    if options.send:
        print(" ".join(f"{key}={value}" for key, value in asyncio.run(send(options)).items()))
        return
    measure(options)


if __name__ == "__main__":
    main()
