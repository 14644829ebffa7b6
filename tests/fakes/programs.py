"""Small programs that use Tocsin as people do; tests start them as processes of their own.

python -m tests.fakes.programs NAME [ARGUMENT…]
"""

import itertools
import json
import logging.handlers
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from agents import (
    Agent,
    Model,
    ModelResponse,
    RunConfig,
    Runner,
    generation_span,
    set_trace_processors,
)
from agents.usage import Usage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

import tocsin
from tocsin.app.watcher import Watcher

WORKFLOW = "job"


class Instant(Model):
    """A model in this process that answers at once, or never."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        # Blocks on purpose: a signal must get through to a program that waits like this.
        time.sleep(self._delay_s)
        text = ResponseOutputText(text="hello", type="output_text", annotations=[])
        message = ResponseOutputMessage(
            id="m", content=[text], role="assistant", status="completed", type="message"
        )
        usage = Usage(requests=1, input_tokens=10, output_tokens=2, total_tokens=12)
        return ModelResponse(output=[message], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("not streamed here")


def run(count: int, delay_s: float = 0.0) -> None:
    """Run an agent so many times, one after another."""
    agent = Agent(name="A", model=Instant(delay_s))
    for _ in range(count):
        Runner.run_sync(agent, "hi", run_config=RunConfig(workflow_name=WORKFLOW))


class FileClient:
    """A metrics client and alert service that appends what it gets to a file, one line each."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _write(self, *what: object) -> None:
        with Path(self._path).open("a") as file:
            file.write(json.dumps([os.getpid(), *what]) + "\n")

    def counter(self, name: str, value: float, tags: dict[str, str]) -> None:
        self._write(name, value, tags)

    def histogram(self, name: str, value: float, tags: dict[str, str]) -> None:
        self._write(name, value, tags)

    def send(self, severity: str, message: str) -> None:
        self._write(severity, message)


class HangingClient:
    def counter(self, name: str, value: float, tags: dict[str, str]) -> None:
        time.sleep(3600)

    histogram = counter

    def send(self, severity: str, message: str) -> None:
        time.sleep(3600)


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def runs_of(watcher: Watcher) -> int:
    """Finished runs as this process counts them."""
    watcher.flush()
    family = next(f for f in watcher.registry.collect() if f.metric.name.endswith("runs_total"))
    return int(sum(family.values.values()))


def exit_at_once(path: str) -> None:
    client = FileClient(path)
    slas = {WORKFLOW: tocsin.WorkflowSLA(max_tokens_per_request=1)}
    set_trace_processors(
        [tocsin.MetricsCollector(client), tocsin.SLAEnforcementProcessor(client, slas)]
    )
    run(20)


def exit_while_client_hangs() -> None:
    client = HangingClient()
    slas = {WORKFLOW: tocsin.WorkflowSLA(max_tokens_per_request=1)}
    set_trace_processors(
        [tocsin.MetricsCollector(client), tocsin.SLAEnforcementProcessor(client, slas)]
    )
    run(3)
    say("done")


class Spender(Instant):
    """A model whose calls the SDK records, at $0.002."""

    async def get_response(self, *arguments: Any, **options: Any) -> ModelResponse:
        with generation_span(model="gpt-4o") as span:
            answer = await super().get_response(*arguments, **options)
            span.span_data.usage = {"input_tokens": 200, "output_tokens": 150}
            return answer


def spend(count: int, delay_s: float = 0.0) -> None:
    """Run an agent so many times that spends $0.002 each time."""
    agent = Agent(name="A", model=Spender(delay_s))
    for _ in range(count):
        Runner.run_sync(agent, "hi", run_config=RunConfig(workflow_name=WORKFLOW))


def install_budget(path: str, port: int | None = None) -> Watcher:
    watcher = tocsin.install(
        metrics_port=port,
        budgets=[tocsin.Budget("team", limit=50, stop_at=1, workflow=WORKFLOW)],
        budget_file=path,
    )
    set_trace_processors([watcher.processor])
    return watcher


def spend_steadily(path: str) -> None:
    """Say after each call what was spent so far, and when."""
    install_budget(path)
    say("spending")
    for number in itertools.count(1):
        spend(1, delay_s=0.05)
        say((number * 0.002, time.time()))


def spend_and_serve(path: str, port: str) -> None:
    """Spend for 5 calls, and wait."""
    watcher = install_budget(path, int(port))
    spend(5)
    watcher.flush()
    say("spent")
    sys.stdin.read()


def spend_in_a_fork(path: str) -> None:
    """Spend for 3 calls, for 4 in a forked child, and for 2 again."""
    watcher = install_budget(path)
    spend(3)
    child = os.fork()
    if child == 0:
        spend(4)
        watcher.close()
        os._exit(0)
    spend(2)
    os.waitpid(child, 0)


def fork() -> None:
    """Fork while another thread holds the registry's lock and the worker is busy."""
    watcher = tocsin.install(metrics_port=None)
    run(5)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with watcher.registry.updating():
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    run(1)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        run(3)
        say({"child": runs_of(watcher)})
        os._exit(0)
    release.set()
    holder.join()
    os.waitpid(child, 0)
    run(2)
    say({"parent": runs_of(watcher)})


def fork_idle_child(port: str) -> None:
    """Leave a child behind that runs no agent; say its pid."""
    tocsin.install(metrics_port=int(port))
    run(1)
    child = os.fork()
    if child == 0:
        signal.pause()
    say(child)


def work(path: str, *, collect: bool) -> None:
    if collect:
        set_trace_processors([tocsin.MetricsCollector(FileClient(path))])
    run(4)


def multiprocess(method: str, path: str) -> None:
    """Run agents here and in two children of multiprocessing."""
    context: Any = multiprocessing.get_context(method)
    set_trace_processors([tocsin.MetricsCollector(FileClient(path))])
    run(1)
    children = [
        context.Process(target=work, args=(path,), kwargs={"collect": method == "spawn"})
        for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()


def export(address: str) -> None:
    set_trace_processors([])
    tocsin.install(export_to=address)
    run(4)


def export_from_workers(method: str, address: str) -> None:
    """Run agents in three children, which send to a server; forked ones after an install here."""
    context: Any = multiprocessing.get_context(method)
    if method == "fork":
        tocsin.install(export_to=address)
    target, arguments = (run, (4,)) if method == "fork" else (export, (address,))
    children = [context.Process(target=target, args=arguments) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def serve(port: str, host: str = "127.0.0.1") -> None:
    """Run an agent, say the port of /metrics, and wait until killed or told to end."""
    watcher = tocsin.install(metrics_port=int(port), metrics_host=host)
    run(1)
    watcher.flush()
    say(None if watcher.server is None else watcher.server.port)
    sys.stdin.readline()


def serve_without_space(port: str) -> None:
    """The same, where no file can be written for a while: its log says so afterwards."""
    root = logging.getLogger()
    held = logging.handlers.MemoryHandler(1_000, target=root.handlers[0])
    root.handlers[:] = [held]
    watcher = tocsin.install(metrics_port=int(port))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    run(1)
    watcher.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    held.flush()
    say(None if watcher.server is None else watcher.server.port)
    sys.stdin.readline()


def hang_in_a_run() -> NoReturn:
    tocsin.install(metrics_port=0)
    run(1)
    say("running")
    run(1, delay_s=3600)
    raise AssertionError("killed long before")


PROGRAMS: dict[str, Callable[..., None]] = {
    program.__name__: program
    for program in (
        exit_at_once,
        exit_while_client_hangs,
        fork,
        fork_idle_child,
        multiprocess,
        export_from_workers,
        serve,
        serve_without_space,
        hang_in_a_run,
        spend_steadily,
        spend_and_serve,
        spend_in_a_fork,
    )
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    set_trace_processors([])
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
