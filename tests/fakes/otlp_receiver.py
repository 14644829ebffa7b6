"""A receiver of OTLP/HTTP on a port of its own, and the counting half of a Tocsin server."""

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from tocsin.meters.record import Recorder
from tocsin.meters.registry import Family, Registry
from tocsin.model.span import Span
from tocsin.pricing.catalogue import PriceBook
from tocsin.runs.traces import TraceBook
from tocsin.serve.counting import RunCounter
from tocsin.sources.otlp import decode_traces


class Received(NamedTuple):
    """A request as it came; the body is unpacked."""

    path: str
    headers: dict[str, str]
    body: bytes
    port: int
    """Of the client: equal ones share a connection."""

    @property
    def spans(self) -> list[Span]:
        return decode_traces(self.body, is_json=True).spans


Handle = Callable[[BaseHTTPRequestHandler], None]


def say(status: int, body: bytes = b"{}", **headers: str) -> Handle:
    """Answer so."""

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return handle


def raw(data: bytes, *, hold_s: float = 0.0) -> Handle:
    """Write bytes that need be no HTTP, wait, and close."""

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(data)
        request.wfile.flush()
        request.close_connection = True
        time.sleep(hold_s)

    return handle


class Receiver:
    """Records what it gets; answers from `answers` while there are some, then 200."""

    def __init__(self, *answers: Handle, port: int = 0) -> None:
        self.received: list[Received] = []
        self.answers = list(answers)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                found = Received(
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    gzip.decompress(body),
                    self.client_address[1],
                )
                owner.received.append(found)
                (owner.answers.pop(0) if owner.answers else say(200))(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they came."""
        return [span for one in self.received for span in one.spans]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def server_families(received: list[Received]) -> list[Family]:
    """What a Tocsin server counts of these requests."""
    registry = Registry()
    book, counter = TraceBook(), RunCounter(PriceBook(), [Recorder(registry)])
    for position, one in enumerate(received, 1):
        decoded = decode_traces(one.body, is_json=True)
        assert not decoded.skipped
        book.add(decoded.spans, position, 0)
    for settled in book.settled(0, everything=True):
        counter.count(settled)
    return registry.collect()
