"""Sends to one server for a while, and watches what it commits."""

import asyncio
import gzip
import time
from itertools import count

import msgspec

from bench.load.bodies import SPANS, make_templates
from bench.load.senders import HttpSender, Send, grpc_sender
from bench.load.targets import Target, tree_of

__all__ = ["Found", "Load", "Sample", "drive"]

DRAIN_S = 120.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent.

    rate: spans per second, sent whatever comes back; 0: as fast as answered, as long as no more
    than `backlog` spans are sent and not committed. drains: wait until all are committed.
    """

    seconds: float
    rate: float
    backlog: int
    connections: int
    protocol: str
    encoding: str
    drains: bool


class Sample(msgspec.Struct, frozen=True):
    """A moment: seconds since the first body, spans, bytes."""

    at_s: float
    sent: int
    committed: int
    rss: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. drain_s: from the last answer until everything was committed."""

    samples: list[Sample]
    latencies_s: list[float]
    refused: int
    body_bytes: int
    drain_s: float
    server_us: float
    """CPU time of the server until all was committed, for each span."""
    server_cores: float
    sender_cores: float


class Driver:
    """One load on one target."""

    def __init__(self, target: Target, load: Load) -> None:
        self._target, self._load = target, load
        self._templates = make_templates(4)
        self._serial = count()
        self._samples: list[Sample] = []
        self._latencies_s: list[float] = []
        self._sent = self._refused = 0

    async def run(self) -> Found:
        load = self._load
        self._before = self._target.committed()
        self._start_s = time.perf_counter()
        cpu_s, own_s = _cpu_s(self._target.pid), time.process_time()
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._work(self._connect()) for _ in range(load.connections)))
        elapsed_s = self._now_s()
        server = (_cpu_s(self._target.pid) - cpu_s) / elapsed_s
        sender = (time.process_time() - own_s) / elapsed_s
        while load.drains and self._committed < self._sent:
            if self._now_s() > elapsed_s + DRAIN_S:
                raise SystemExit(f"{self._samples[-1]}: not all is committed")
            await asyncio.sleep(0.1)
        watch.cancel()
        all_s = _cpu_s(self._target.pid) - cpu_s
        return Found(
            samples=self._samples,
            latencies_s=sorted(self._latencies_s),
            refused=self._refused,
            body_bytes=len(self._templates[0].fill(0, 1 << 60)),
            drain_s=self._samples[-1].at_s - elapsed_s,
            server_us=all_s * 1e6 / max(1, self._committed),
            server_cores=server,
            sender_cores=sender,
        )

    async def _work(self, post: Send) -> None:
        load = self._load
        while (due_s := await self._turn()) is not None:
            number = self._sent // SPANS
            body = self._templates[number % len(self._templates)].fill(number, time.time_ns())
            if load.encoding == "gzip" and load.protocol == "http":
                body = gzip.compress(body, 1)
            while wait_s := await post(body):
                self._refused += 1
                await asyncio.sleep(wait_s)
            self._latencies_s.append(self._now_s() - due_s)

    async def _turn(self) -> float | None:
        """Wait until a body may go, count it as sent, and tell since when it should have gone."""
        load = self._load
        if load.rate:
            due_s = next(self._serial) * SPANS / load.rate
            if due_s < load.seconds:
                await asyncio.sleep(max(0.0, due_s - self._now_s()))
        else:
            while self._sent + SPANS - self._committed > load.backlog:
                if self._now_s() >= load.seconds:
                    return None
                await asyncio.sleep(0.01)
            due_s = self._now_s()
        if max(due_s, self._now_s()) >= load.seconds:
            return None
        self._sent += SPANS
        return due_s

    @property
    def _committed(self) -> int:
        return self._samples[-1].committed if self._samples else 0

    async def _watch(self) -> None:
        while True:
            committed = await asyncio.to_thread(self._target.committed) - self._before
            rss = sum(process.memory_info().rss for process in tree_of(self._target.pid))
            self._samples.append(Sample(self._now_s(), self._sent, committed, rss))
            await asyncio.sleep(1)

    def _connect(self) -> Send:
        load = self._load
        if load.protocol == "grpc":
            return grpc_sender(self._target.grpc_port, load.encoding)
        encoding = f"Content-Encoding: {load.encoding}\r\n" if load.encoding else ""
        return HttpSender(self._target.http_port, encoding + self._target.headers).post

    def _now_s(self) -> float:
        return time.perf_counter() - self._start_s


async def drive(target: Target, load: Load) -> Found:
    """Send a load to a target."""
    return await Driver(target, load).run()


def _cpu_s(pid: int) -> float:
    times = [process.cpu_times() for process in tree_of(pid)]
    return sum(used.user + used.system for used in times)
