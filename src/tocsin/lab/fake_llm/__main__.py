"""`python -m tocsin.lab.fake_llm`: the fake LLM server as a process of its own."""

import argparse
import signal
import threading
from collections.abc import Sequence

from tocsin.lab.fake_llm.behaviours import answer, flaky, latencies
from tocsin.lab.fake_llm.script import Behaviour, Failure
from tocsin.lab.fake_llm.server import FakeLLM


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; the first line on stdout is the base URL."""
    options = _parser().parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    fake = FakeLLM(_behaviour(options), seed=options.seed, host=options.host, port=options.port)
    with fake:
        print(fake.base_url, flush=True)
        stopped.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tocsin.lab.fake_llm", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", default="ok", help="what every model answers")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="median; 0 for none")
    parser.add_argument("--latency-sigma", type=float, default=0.5, help="of the log-normal")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of calls, 0 to 1")
    parser.add_argument("--error-status", type=int, default=500)
    return parser


def _behaviour(options: argparse.Namespace) -> Behaviour:
    behaviour = answer(options.text)
    if options.error_rate:
        behaviour = flaky(behaviour, Failure(options.error_status), options.error_rate)
    if options.latency_ms:
        median_s = options.latency_ms / 1000
        behaviour = latencies(behaviour, median_s=median_s, sigma=options.latency_sigma)
    return behaviour


if __name__ == "__main__":
    main()
