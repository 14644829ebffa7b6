"""Send this process's spans to a Tocsin server or any OTLP collector."""

from collections.abc import Mapping

import msgspec

from tocsin.app.delivery import Delivery
from tocsin.app.otlp_http import OtlpHttp, parse_headers, parse_target
from tocsin.meters.clients import SilentObserver
from tocsin.model.run import Run
from tocsin.model.span import Kind, Observation, Span
from tocsin.sources.otlp_encode import Finished

__all__ = ["SpanExporter", "exporter"]


def exporter(export_to: str, headers: Mapping[str, str] | None = None) -> "SpanExporter":
    """Make an exporter to an address. Raises ConfigError for a wrong address or header."""
    target = parse_target(export_to)
    checked = parse_headers(headers)
    return SpanExporter(Delivery(str(target), lambda: OtlpHttp(target, checked)))


class SpanExporter(SilentObserver):
    """Hands every finished span to a delivery, and with a run's root how the run ended."""

    sink = "export"

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self._roots: dict[str, Observation | None] = {}

    def reset_after_fork(self) -> None:
        """Start from nothing in a forked child; the parent sends what it had."""
        self._roots = {}
        self.delivery.reset_after_fork()

    def run_started(self, run: Run) -> None:
        """Expect a report."""
        self._roots[run.run_id] = None

    def span_ended(self, observation: Observation) -> None:
        """Send a span; a run's root waits until it is known how the run ended."""
        span, run_id = observation.span, observation.run_id
        if span.kind is Kind.RUN and span.span_id == run_id and run_id in self._roots:
            self._roots[run_id] = observation
            return
        if span.kind is Kind.LLM and span.span_id == run_id and span.calls == 0:
            # The run's own rollup stands for its calls; it shares the root's id.
            renamed = {"span_id": f"rollup {run_id}", "parent_id": run_id}
        elif span.kind is Kind.AGENT and span.parent_id is None and run_id is not None:
            renamed = {"parent_id": f"run {run_id}"}
        else:
            self.delivery.put(Finished(observation))
            return
        span = msgspec.structs.replace(span, **renamed)
        self.delivery.put(Finished(msgspec.structs.replace(observation, span=span)))

    def run_ended(self, run: Run, conversation_turns: int | None) -> None:
        """Send a run's report on its root, or on a span made for it where there is none."""
        observation = self._roots.pop(run.run_id, None)
        if observation is None:
            span = Span(
                trace_id=run.trace_id,
                span_id=f"run {run.run_id}",
                parent_id=None,
                kind=Kind.RUN,
                name=run.workflow,
                started_ns=0,
                ended_ns=0,
                calls=0,
            )
            observation = Observation(span=span, workflow=run.workflow, run_id=run.run_id)
        span = msgspec.structs.replace(
            observation.span,
            started_ns=run.started_ns,
            ended_ns=run.started_ns if run.ended_ns is None else run.ended_ns,
            conversation_id=run.conversation_id,
        )
        self.delivery.put(Finished(msgspec.structs.replace(observation, span=span), run))
