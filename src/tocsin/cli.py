"""The `tocsin` command."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Final

import tocsin
from tocsin.cli_runs.budgets_command import add_budgets_command
from tocsin.cli_runs.command import add_runs_command
from tocsin.cli_runs.slas_command import add_slas_command
from tocsin.serve.command import add_check_command, add_serve_command

__all__ = ["main"]

DEMO_PACKAGES: Final = ("agents", "rich", "starlette", "uvicorn")
MAX_RATE: Final = 200.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tocsin", description="Production monitoring for AI agents."
    )
    parser.add_argument("--version", action="version", version=f"tocsin {tocsin.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    text = "watch a fleet of real agents on a fake LLM: no key, no network"
    demo = commands.add_parser("demo", help=text, description=text)
    demo.set_defaults(run=_demo)
    demo.add_argument("--seconds", type=_seconds, help="how long; default: until Ctrl-C")
    demo.add_argument(
        "--rate", type=_rate, default=2.0, help="runs started per second (default: %(default)s)"
    )
    demo.add_argument("--seed", type=int, default=8, help="of all chance (default: %(default)s)")
    demo.add_argument(
        "--port", type=_port, default=8001, help="of /metrics; 0: a free one (default: %(default)s)"
    )
    demo.add_argument("--plain", action="store_true", help="print tables, draw nothing in place")
    add_serve_command(commands)
    add_check_command(commands)
    add_runs_command(commands)
    add_slas_command(commands)
    add_budgets_command(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    if any(find_spec(package) is None for package in DEMO_PACKAGES):
        print('tocsin demo needs more packages: pip install "tocsin[demo]"', file=sys.stderr)
        return 2
    from tocsin.lab.demo.demo import Options, run_demo

    run_demo(
        Options(
            seconds=options.seconds,
            rate=options.rate,
            seed=options.seed,
            port=options.port,
            plain=options.plain,
        )
    )
    return 0


def _seconds(text: str) -> float:
    return _number(text, "write seconds above 0", lambda value: value > 0)


def _rate(text: str) -> float:
    advice = f"write runs per second, above 0 and at most {MAX_RATE:g}"
    return _number(text, advice, lambda value: 0 < value <= MAX_RATE)


def _port(text: str) -> int:
    advice = "write a port number, 0 to 65535"
    value = _number(text, advice, lambda value: 0 <= value <= 65535 and value == int(value))
    return int(value)


def _number(text: str, advice: str, is_fine: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not is_fine(value):
        raise argparse.ArgumentTypeError(f"{text!r}: {advice}")
    return value
