"""The real SDK, watched, against the fake model."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import set_trace_processors
from agents.tracing import get_trace_provider

import tocsin
from tests.fakes.process import Start, starting
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import FakeLLM


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    """A fake model server that answers "ok"."""
    with FakeLLM() as server:
        yield server


@contextlib.contextmanager
def traced_by(watcher: Watcher) -> Iterator[Watcher]:
    """Make a watcher the SDK's only trace processor, then put the others back."""
    provider = get_trace_provider()
    before = list(provider._multi_processor._processors)  # type: ignore[attr-defined]
    set_trace_processors([watcher.processor])
    try:
        yield watcher
    finally:
        set_trace_processors(before)
        watcher.close()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    """Start watchers that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(traced_by(Watcher(**settings)))


@pytest.fixture
def limited(watch: Callable[..., Watcher]) -> Callable[..., Watcher]:
    """A watcher that stops runs of the workflow "job"."""

    def start(**limits: Any) -> Watcher:
        watcher = watch()
        watcher.add_stops({"job": tocsin.StopLimits(**limits)})
        return watcher

    return start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start child processes that end with the test."""
    with starting(tmp_path) as run:
        yield run
