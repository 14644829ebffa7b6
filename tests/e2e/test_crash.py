"""Kill -9 under load, again and again: every acknowledged span is stored exactly once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.fakes.receiver import Receiver
from tests.fakes.span_store import SpanStore, request_of
from tocsin.api.compression import zstd

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

KILLS = 30
SPANS = 20
SERVICE = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Post = Callable[[bytes], bool]
"""Posts a body; True when it is acknowledged."""


class Senders:
    """Threads that send bodies of unique spans, and repeat most of what is not acknowledged."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self._number = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(post, number), daemon=True)
            for number, post in enumerate(
                (self._plain, self._plain, self._zstd, self._grpc, self._grpc)
            )
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _work(self, post: Post, seed: int) -> None:
        chance = random.Random(seed)
        while not self._stop.is_set():
            ids = self._next_ids()
            body = request_of(*ids, padding=chance.choice((0, 100, 3000)))
            gives_up = chance.random() < 0.2
            while not post(body):
                time.sleep(0.01)
                if gives_up or self._stop.is_set():
                    break
            else:
                with self._lock:
                    self.acknowledged.update(id_.hex() for id_ in ids)

    def _next_ids(self) -> list[bytes]:
        with self._lock:
            first, self._number = self._number, self._number + SPANS
            ids = [number.to_bytes(8, "big") for number in range(first, self._number)]
            self.sent.update(id_.hex() for id_ in ids)
        return ids

    def _plain(self, body: bytes, **headers: str) -> bool:
        url = f"http://{self.addresses['OTLP/HTTP']}/v1/traces"
        sent = {"content-type": "application/x-protobuf"} | headers
        try:
            return httpx.post(url, content=body, headers=sent, timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def _zstd(self, body: bytes) -> bool:
        return self._plain(zstd.compress(body), **{"content-encoding": "zstd"})

    def _grpc(self, body: bytes) -> bool:
        with grpc.insecure_channel(self.addresses["OTLP/gRPC"]) as channel:
            call: Any = channel.unary_unary(SERVICE)
            try:
                call(body, timeout=10)
            except grpc.RpcError:
                return False
            return True


def test_every_acknowledged_span_is_stored_exactly_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    chance = random.Random(random.randrange(2**32))
    senders = Senders()
    receiver = Receiver(data).ready()
    senders.addresses = receiver.addresses
    senders.start()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.02, 0.5))
        receiver.kill()
        receiver = Receiver(data).ready()
        senders.addresses = receiver.addresses
    time.sleep(0.5)
    senders.stop()
    assert 0 == receiver.stop()

    store = SpanStore(data / "spans.db")
    stored = Counter(store.ids())
    store.close()
    assert len(senders.acknowledged) > 1000
    assert {} == {id_: count for id_, count in stored.items() if count > 1}
    assert set() == senders.acknowledged - stored.keys()
    assert set() == stored.keys() - senders.sent
    print(f"{len(senders.acknowledged)} of {len(senders.sent)} spans acknowledged")  # noqa: T201
