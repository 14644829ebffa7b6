"""A web application that runs agents, for gunicorn: `tests.fakes.gunicorn_app:app`."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from agents import set_trace_processors

import tocsin
from tests.fakes import programs

logging.basicConfig(level=logging.WARNING)
set_trace_processors([])
tocsin.install(metrics_port=int(os.environ["METRICS_PORT"]))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Run an agent (/run), or begin a run that never ends (/hang); answer with the pid."""
    if environ["PATH_INFO"] == "/hang":
        threading.Thread(target=hang, daemon=True).start()
    else:
        programs.run(1)
    time.sleep(0.05)  # so that requests sent at once go to several workers
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def hang() -> None:
    import asyncio

    from agents import Agent, RunConfig, Runner

    agent = Agent(name="A", model=programs.Instant(3600))
    config = RunConfig(workflow_name="hanging")
    asyncio.run(Runner.run(agent, "hi", run_config=config))
