"""The classic names, sent to any metrics client that a program already has."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from tocsin.errors import ConfigError
from tocsin.model.finding import Finding
from tocsin.model.label import UNKNOWN
from tocsin.model.run import Breach, Outcome, Run
from tocsin.model.span import ErrorClass, Kind, Observation

__all__ = ["ClientCosts", "ClientMeters", "MetricsClient"]

TAG_NAMES: Final = ("tags", "labels", "attributes", "dimensions", "attrs")
VALUE_NAMES: Final = ("value", "amount", "delta", "count", "n")

Send = Callable[[str, float, dict[str, str]], object]
Layout = Callable[[str, float, dict[str, str]], tuple[tuple[Any, ...], Mapping[str, Any]]]
"""Spreads name, value and tags over positional and keyword arguments."""


class MetricsClient(Protocol):
    """What the classic collectors need: three methods that take a name, a value and tags.

    The tags' parameter may be called tags, labels, attributes or dimensions, and may be
    keyword-only or `**tags`. Methods that a collector does not use may be missing.
    """

    def counter(self, name: str, value: float, tags: dict[str, str]) -> object:
        """Add to a counter."""
        ...

    def histogram(self, name: str, value: float, tags: dict[str, str]) -> object:
        """Add an observation."""
        ...

    def gauge(self, name: str, value: float, tags: dict[str, str]) -> object:
        """Set a gauge."""
        ...


def bind(client: object, method: str) -> Send:
    """Return a client's method as `send(name, value, tags)`, whatever its parameters are called.

    Raises ConfigError where the client has no such method, or one that cannot take these three.
    """
    found: Callable[..., object] | None = getattr(client, method, None)
    if not callable(found):
        raise _unfit(client, method)
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return found  # a builtin tells nothing: call it by position
    for layout in _layouts(signature.parameters):
        args, named = layout("name", 1, {"tag": "value"})
        try:
            signature.bind(*args, **named)
        except TypeError:
            continue
        return _sender(found, layout)
    raise _unfit(client, method)


def _unfit(client: object, method: str) -> ConfigError:
    kind = type(client).__name__
    return ConfigError(f"metrics client {kind} has no method {method}(name, value, tags)")


def _sender(method: Callable[..., object], layout: Layout) -> Send:
    def send(name: str, amount: float, tags: dict[str, str]) -> object:
        args, named = layout(name, amount, tags)
        return method(*args, **named)

    return send


def _layouts(parameters: Mapping[str, inspect.Parameter]) -> Iterator[Layout]:
    """Ways to pass name, value and tags, the surest first."""
    value = next((name for name in VALUE_NAMES if name in parameters), None)
    tags = next((name for name in TAG_NAMES if name in parameters), None)
    if tags is not None and parameters[tags].kind is inspect.Parameter.VAR_KEYWORD:
        yield lambda name, amount, found: ((name, amount), found)
        if value is not None:
            yield lambda name, amount, found: ((name,), {value: amount, **found})
    elif tags is not None:
        if value is not None:
            yield lambda name, amount, found: ((name,), {value: amount, tags: found})
        yield lambda name, amount, found: ((name, amount), {tags: found})
    yield lambda name, amount, found: ((name, amount, found), {})
    yield lambda name, amount, found: ((name, amount), {"tags": found})


class SilentObserver:
    """An observer that ignores everything; collectors override what they count."""

    sink = "client"

    def run_started(self, run: Run) -> None:
        """Ignore."""

    def work_started(self, kind: Kind, name: str, workflow: str) -> None:
        """Ignore."""

    def span_ended(self, observation: Observation) -> None:
        """Ignore."""

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        """Ignore."""

    def breached(self, breach: Breach) -> None:
        """Ignore."""

    def found(self, finding: Finding) -> None:
        """Ignore."""


class ClientMeters(SilentObserver):
    """Durations, tokens, tool errors and completions under the names of `MetricsCollector`.

    | name | tags |
    |---|---|
    | agent.span.duration_seconds | span_type, workflow |
    | agent.llm.duration_seconds | model, workflow |
    | agent.tokens.input_total, agent.tokens.output_total | model, workflow |
    | agent.tool.duration_seconds, agent.tool.errors_total | tool, workflow |
    | agent.workflow.duration_seconds | workflow |
    | agent.workflow.completions_total | workflow, outcome |
    """

    def __init__(self, client: Any) -> None:
        self._counter = bind(client, "counter")
        self._histogram = bind(client, "histogram")

    def span_ended(self, observation: Observation) -> None:
        """Send a span's duration, and what its kind adds."""
        span, workflow = observation.span, observation.workflow
        if span.calls or span.kind is Kind.RUN:
            tags = {"span_type": span.kind.value, "workflow": workflow}
            self._histogram("agent.span.duration_seconds", span.duration_s, tags)
        if span.kind is Kind.LLM:
            self._llm(observation)
        elif span.kind is Kind.TOOL:
            tags = {"tool": span.name, "workflow": workflow}
            self._histogram("agent.tool.duration_seconds", span.duration_s, tags)
            if span.error not in (None, ErrorClass.CANCELLED):
                self._counter("agent.tool.errors_total", 1, tags)

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        """Send a run's duration and completion."""
        self._histogram(
            "agent.workflow.duration_seconds", run.duration_s, {"workflow": run.workflow}
        )
        tags = {"workflow": run.workflow, "outcome": (run.outcome or Outcome.UNKNOWN).value}
        self._counter("agent.workflow.completions_total", 1, tags)

    def _llm(self, observation: Observation) -> None:
        span = observation.span
        tags = {"model": span.model or UNKNOWN, "workflow": observation.workflow}
        if span.calls:
            self._histogram("agent.llm.duration_seconds", span.duration_s, tags)
        if span.usage is not None:
            self._counter("agent.tokens.input_total", span.usage.input_tokens, tags)
            self._counter("agent.tokens.output_total", span.usage.output_tokens, tags)


class ClientCosts(SilentObserver):
    """agent.cost.dollars_total by model, workflow and cost_type; nothing for unknown costs."""

    def __init__(self, client: Any) -> None:
        self._counter = bind(client, "counter")

    def span_ended(self, observation: Observation) -> None:
        """Send what a priced LLM call cost."""
        cost = observation.cost
        if cost is None:
            return
        model, workflow = observation.span.model or UNKNOWN, observation.workflow
        for cost_type in ("input", "output", "cache_read", "cache_write"):
            if amount := getattr(cost, cost_type):
                tags = {"model": model, "workflow": workflow, "cost_type": cost_type}
                self._counter("agent.cost.dollars_total", float(amount), tags)
