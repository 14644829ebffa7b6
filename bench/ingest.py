"""How many spans per second a whole server commits to its store, from send to commit.

    python bench/ingest.py [--seconds 300] [--rate SPANS_PER_S] [--protocol grpc] [--encoding gzip]
        [--phoenix PYTHON] [--mlflow PYTHON]

A sender in a process of its own posts bodies of 500 spans of 1.2 kB, traces of ten; no two are
equal. Spans count once they are committed: Tocsin says so on /metrics (and its database is counted
at the end), for the others their database is asked. An acknowledgement before that counts nothing.
Servers take turns; what is printed is the median of the turns.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import duckdb
import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.load.bodies import SPANS
from bench.load.drive import Found, Load, Sample, drive
from bench.load.targets import (
    Start,
    Target,
    start_mlflow,
    start_phoenix,
    start_tocsin,
    stop,
    tree_of,
)

TARGETS = "aims: >= 20,000 spans/s, p99 < 250 ms, < 400 MB and flat, idle < 150 MB"
IDLE_S = 2.0
WARM = 0.25
"""Share of the time after which rates are taken: buffers, caches and backlog have filled up."""
PEER_BACKLOG = 4 * SPANS
"""For servers that acknowledge what they have not committed: more would only wait."""


class Turn(msgspec.Struct, frozen=True):
    """One server, measured once."""

    found: Found
    idle_bytes: int
    rate: float


def measure(start: Start, python: str, load: Load, directory: str | None) -> Turn:
    """Start a server, have it sent to by another process, check what it has."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="tocsin-bench-") as data:
        target = start(python, Path(data))
        try:
            time.sleep(IDLE_S)
            idle = sum(process.memory_info().rss for process in tree_of(target.pid))
            order = msgspec.json.encode([target, load])
            sender = subprocess.run(
                [sys.executable, __file__, "--send"],
                input=order,
                stdout=subprocess.PIPE,
                check=True,
            )
        finally:
            stop(target)
        found = msgspec.json.decode(sender.stdout, type=Found)
        if load.drains:
            check(Path(data) / "store" / "tocsin.duckdb", found.samples[-1].sent)
        return Turn(found, idle, rate(found.samples, load.seconds))


def check(database: Path, sent: int) -> None:
    """Count for ourselves: every span, once, and every run."""
    with duckdb.connect(str(database), read_only=True) as connection:
        query = "SELECT count(*), count(DISTINCT run_id), (SELECT count(*) FROM runs) FROM spans"
        counted = connection.execute(query).fetchall()[0]
    expected = (sent, sent // 10, sent // 10)
    if counted != expected:
        sys.exit(f"spans, runs of spans, runs: sent {expected}, stored {counted}")


def rate(samples: list[Sample], seconds: float) -> float:
    """Spans committed per second while sending went on, once warm."""
    warm = [sample for sample in samples if seconds * WARM <= sample.at_s <= seconds]
    first, last = warm[0], warm[-1]
    return (last.committed - first.committed) / (last.at_s - first.at_s)


def report(turns: list[Turn], load: Load) -> None:
    """Print the turn of median rate in full."""
    turn = sorted(turns, key=lambda turn: turn.rate)[len(turns) // 2]
    found, samples = turn.found, turn.found.samples
    latencies_s = found.latencies_s
    acks = [latencies_s[int(len(latencies_s) * q)] * 1e3 for q in (0.5, 0.99)]
    print(
        f"acknowledged after: p50 {acks[0]:.1f} ms, p99 {acks[1]:.1f} ms, "
        f"most {latencies_s[-1] * 1e3:.0f} ms; told to wait {found.refused} times"
    )
    print("  at s    sent/s  committed/s    behind      MB")
    sending = [sample for sample in samples if sample.at_s <= load.seconds]
    shown = sending[:: max(1, len(sending) // 10)]
    for before, after in pairwise(shown):
        took_s = after.at_s - before.at_s
        print(
            f"{after.at_s:6.0f} {(after.sent - before.sent) / took_s:9,.0f}"
            f" {(after.committed - before.committed) / took_s:12,.0f}"
            f" {after.sent - after.committed:9,} {after.rss >> 20:7,}"
        )
    peak = max(sample.rss for sample in samples)
    print(f"everything committed {found.drain_s:.1f} s after the last answer")
    print(f"memory: idle {turn.idle_bytes >> 20} MB, peak {peak >> 20} MB")
    print(
        f"cores: server {found.server_cores:.2f}, sender {found.sender_cores:.2f}; "
        f"{found.server_us:.1f} us of the server's time for each span"
    )


def compare(turns: dict[str, list[Turn]]) -> None:
    """Print the median rate of each server, and how many times as much Tocsin commits."""
    own = statistics.median(turn.rate for turn in turns["Tocsin"])
    for name, measured in turns.items():
        rates = [turn.rate for turn in measured]
        peak = max(sample.rss for turn in measured for sample in turn.found.samples)
        median = statistics.median(rates)
        print(
            f"{name}: {median:,.0f} spans/s committed ({min(rates):,.0f} to {max(rates):,.0f}), "
            f"peak {peak >> 20} MB" + (f"; Tocsin {own / median:,.0f}x" if name != "Tocsin" else "")
        )


def run(options: argparse.Namespace) -> None:
    """Let the servers take turns, and print."""
    load = Load(
        seconds=options.seconds,
        rate=options.rate,
        backlog=options.backlog,
        connections=options.connections,
        protocol=options.protocol,
        encoding=options.encoding,
        drains=True,
    )
    peer = Load(
        seconds=options.peer_seconds,
        rate=0,
        backlog=PEER_BACKLOG,
        connections=1,
        protocol="http",
        encoding="",
        drains=False,
    )
    servers: list[tuple[str, Start, str | None, Load]] = [
        ("Tocsin", start_tocsin, sys.executable, load),
        ("Phoenix", start_phoenix, options.phoenix, peer),
        ("MLflow", start_mlflow, options.mlflow, peer),
    ]
    turns: dict[str, list[Turn]] = {}
    for _ in range(options.rounds):
        for name, start, python, sent in servers:
            if python:
                turns.setdefault(name, []).append(measure(start, python, sent, options.dir))
    offered = f"{options.rate:,.0f} spans/s offered" if options.rate else "as fast as committed"
    size = turns["Tocsin"][0].found.body_bytes // 1000
    print(
        f"{options.protocol} {options.encoding or 'identity'}, {options.seconds:g} s, "
        f"{options.connections} connections, bodies of {size} kB, {offered}"
    )
    report(turns["Tocsin"], load)
    compare(turns)
    print(TARGETS)


def send() -> None:
    """Be the sender: an order on stdin, what was found on stdout."""
    target, load = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Target, Load])
    found = asyncio.run(drive(target, load))
    sys.stdout.buffer.write(msgspec.json.encode(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=0, help="spans/s; 0: as fast as committed")
    parser.add_argument(
        "--backlog", type=int, default=80_000, help="spans sent and not committed, with --rate 0"
    )
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--protocol", choices=("http", "grpc"), default="http")
    parser.add_argument("--encoding", choices=("", "gzip"), default="")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dir", help="where data is written")
    parser.add_argument("--phoenix", metavar="PYTHON", help="one that has arize-phoenix")
    parser.add_argument("--mlflow", metavar="PYTHON", help="one that has mlflow")
    parser.add_argument("--peer-seconds", type=float, default=30)
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send()
    else:
        run(options)


if __name__ == "__main__":
    main()
