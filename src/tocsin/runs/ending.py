"""How a run ended, told from its spans alone."""

from typing import Final

from tocsin.model.run import Outcome
from tocsin.model.span import AGENT, GUARDRAIL, LLM, OTHER, ErrorClass
from tocsin.runs.outcome import derive_outcome
from tocsin.runs.tree import Node

__all__ = ["find_outcome"]

SILENT_SCOPE: Final = "openai_agents"
"""Part of the scopes that report the OpenAI Agents SDK."""


def find_outcome(root: Node, nodes: list[Node]) -> Outcome:
    """Decide a run's outcome.

    root: the span that stands for the run; nodes: all spans of the run, the root included, in the
    order they began. A failure below the root ended the run if no further work began after it:
    otherwise somebody dealt with it. Failures of tools, and inside of tools, never end a run by
    themselves.
    """
    signals: set[Outcome] = set()
    if root.span.error is not None:
        signals.add(_signal(root) or Outcome.ERROR)
    outer = [node for node in nodes if not node.nested and node.kind is not OTHER]
    last_start_ns = outer[-1].span.started_ns if outer else 0
    for node in outer:
        if node is root or node.span.ended_ns < last_start_ns:
            continue
        if (signal := _signal(node)) is not None:
            signals.add(signal)
    if not signals and _is_openai_agents(nodes):
        signals |= _unsaid(outer, last_start_ns)
    return derive_outcome(None, signals, work_left_open=False)


def _signal(node: Node) -> Outcome | None:
    span = node.span
    if span.outcome is not None:
        return span.outcome
    if node.kind is GUARDRAIL:
        return Outcome.GUARDRAIL if span.triggered else None
    if node.kind is LLM and span.error is not None and span.error is not ErrorClass.CANCELLED:
        return Outcome.ERROR
    return None


def _is_openai_agents(nodes: list[Node]) -> bool:
    return any(SILENT_SCOPE in scope for scope in {node.span.scope for node in nodes})


def _unsaid(outer: list[Node], last_start_ns: int) -> set[Outcome]:
    """What the SDK puts on its turns only, for instrumentations that leave turns out.

    Two failures leave no error on the agent: an input guardrail that trips, after which there is
    an agent that asked no model; and a call of an unknown tool, after which the last that
    happened is a model asking for a tool.
    """
    agents = [node for node in outer if node.kind is AGENT]
    calls = [node for node in outer if node.kind is LLM]
    if agents and not calls:
        return {Outcome.GUARDRAIL}
    last = max(calls, key=lambda node: node.span.started_ns, default=None)
    if last is None or last.span.started_ns < last_start_ns:
        return set()
    return {Outcome.ERROR} if "tool" in (last.span.finish_reason or "") else set()
