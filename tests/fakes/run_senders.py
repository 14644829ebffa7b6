"""Threads that send runs to a server, over HTTP and gRPC, until each is acknowledged."""

import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fakes.otlp import MS, otlp_span, request

CALLS: Final = 3
"""Of 100 + 10 tokens, in each run."""
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CALL: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
}


Send = Callable[[bytes], bool]


def trace_id(number: int) -> str:
    return f"{number + 1:032x}"


def span_ids(number: int) -> list[str]:
    """The root's id, then those of the calls below it."""
    return [f"{number + 1:015x}{n}" for n in range(CALLS + 1)]


class RunSenders:
    """Each run goes in two bodies, calls first; a body is repeated until it is acknowledged.

    Threads send runs all the time, one of them over gRPC; others are sent by `begin` and
    `finish_all`.
    """

    def __init__(self, *, http_port: int, grpc_port: int, threads: int = 4) -> None:
        self.started_ns = time.time_ns()
        self.acknowledged: dict[int, str] = {}
        """Number of a run -> protocol."""
        self._url = f"http://127.0.0.1:{http_port}/v1/traces"
        self._grpc_target = f"127.0.0.1:{grpc_port}"
        self._begun: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        ways = [self._over_grpc, *[self._over_http] * 3][:threads]
        self._threads = [threading.Thread(target=way, daemon=True) for way in ways]
        for thread in self._threads:
            thread.start()

    def begin(self) -> int:
        """Send the calls of a run, whose root is to come later; return its number."""
        number = self._take_number()
        self._insist(self._post, self._body(number, is_root=False))
        self._begun.add(number)
        return number

    def finish_all(self) -> None:
        """Send the roots of the runs begun."""
        while self._begun:
            number = self._begun.pop()
            self._insist(self._post, self._body(number, is_root=True))
            self.acknowledged[number] = "http"

    def stop(self) -> None:
        """Finish what is begun and end the threads."""
        self.finish_all()
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _over_http(self) -> None:
        self._work("http", self._post)

    def _over_grpc(self) -> None:
        quick = [(f"grpc.{which}_reconnect_backoff_ms", 100) for which in ("initial", "max")]
        with grpc.insecure_channel(self._grpc_target, options=quick) as channel:
            export: Any = channel.unary_unary(EXPORT)

            def call(body: bytes) -> bool:
                try:
                    export(body, timeout=5)
                except grpc.RpcError:
                    return False
                return True

            self._work("grpc", call)

    def _work(self, protocol: str, send: Send) -> None:
        while not self._stop.is_set():
            number = self._take_number()
            for is_root in (False, True):
                self._insist(send, self._body(number, is_root=is_root))
            self.acknowledged[number] = protocol
            time.sleep(0.005)

    def _insist(self, send: Send, body: bytes) -> None:
        while not send(body):
            time.sleep(0.02)

    def _take_number(self) -> int:
        with self._lock:
            self._next += 1
            return self._next - 1

    def _body(self, number: int, *, is_root: bool) -> bytes:
        root, *calls = span_ids(number)
        spans = [root] if is_root else calls
        made = request(*(self._span(number, span_id) for span_id in spans))
        return bytes(made.SerializeToString())

    def _span(self, number: int, span_id: str) -> Span:
        place = int(span_id[-1])
        began_ns = self.started_ns + number * MS
        return otlp_span(
            "flow",
            CALL if place else {"gen_ai.operation.name": "invoke_workflow"},
            trace_id=bytes.fromhex(trace_id(number)),
            span_id=bytes.fromhex(span_id),
            parent_span_id=bytes.fromhex(span_ids(number)[0]) if place else b"",
            start_time_unix_nano=began_ns + place * MS,
            end_time_unix_nano=began_ns + 10 * MS,
        )

    def _post(self, body: bytes) -> bool:
        headers = {"content-type": "application/x-protobuf"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._url, body, headers), timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
