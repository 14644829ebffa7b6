"""Which spans are work: what two instrumentors report of one call is one call."""

from typing import Final

from tocsin.model.span import TOOL, Kind
from tocsin.runs.tree import CALLS, FRAMES, Node
from tocsin.runs.twins import find_siblings

__all__ = ["find_work"]

ALWAYS: Final = frozenset({Kind.GUARDRAIL, Kind.RETRIEVAL, Kind.EVALUATOR, Kind.HANDOFF})


def find_work(nodes: list[Node]) -> set[Node]:
    """Choose the spans of a trace that count; nodes have parents before their children."""
    work: set[Node] = set()
    calls: list[Node] = []
    for node in nodes:
        if node.kind in CALLS:
            calls.append(node)
        elif node.kind in ALWAYS or (node.kind is TOOL and not _repeats_tool(node)):
            work.add(node)
    distinct = _without_same_answers(_distinct_calls(calls))
    twins = find_siblings([node.span for node in distinct])
    work.update(node for node in distinct if node.span.span_id not in twins)
    return work | _own_usage(nodes)


def _repeats_tool(node: Node) -> bool:
    """A tool right inside of a tool of the same name: a framework's span and a protocol's."""
    outer = node.container
    return outer is not None and outer.kind is TOOL and outer.span.name == node.span.name


def _distinct_calls(calls: list[Node]) -> list[Node]:
    """Of calls inside of each other only one: two instrumentors saw the same.

    The outer one counts, as it covers the caller's whole wait; unless it succeeded without
    telling tokens, and one inside of it tells them.
    """
    outermost: list[Node] = []
    within: dict[Node, list[Node]] = {}
    for node in calls:
        outer = node.container
        if outer is not None and outer.kind is node.kind:
            within.setdefault(outer, []).append(node)
        else:
            outermost.append(node)
    if not within:
        return outermost
    telling = _tell_tokens(calls, within)
    chosen, pending = [], outermost
    while pending:
        node = pending.pop()
        is_silent = node.span.usage is None and node.span.error is None
        inner = [call for call in within.get(node, ()) if call in telling]
        if is_silent and inner:
            pending.extend(inner)
        else:
            chosen.append(node)
    return chosen


def _tell_tokens(calls: list[Node], within: dict[Node, list[Node]]) -> set[Node]:
    """Calls whose tokens are known by themselves or by a call inside of them."""
    telling: set[Node] = set()
    for node in reversed(calls):
        if node.span.usage is not None or any(call in telling for call in within.get(node, ())):
            telling.add(node)
    return telling


def _without_same_answers(calls: list[Node]) -> list[Node]:
    """Keep one call of those with the same response id, best one that knows its tokens."""
    answers = [node.span.response_id for node in calls if node.span.response_id is not None]
    if len(set(answers)) == len(answers):
        return calls
    kept = []
    by_answer: dict[str, Node] = {}
    for node in sorted(calls, key=lambda node: (node.span.usage is None, node.span.started_ns)):
        answer = node.span.response_id
        if answer is None or by_answer.setdefault(answer, node) is node:
            kept.append(node)
    return kept


def _own_usage(nodes: list[Node]) -> set[Node]:
    """Agents and workflows whose own usage counts: no call inside of them was reported.

    Of several around each other, the innermost that knows its usage.
    """
    covered: set[Node] = set()
    own: set[Node] = set()
    if not any(node.span.usage is not None for node in nodes if node.kind in FRAMES):
        return own
    for node in reversed(nodes):
        if node.kind in CALLS:
            covered.add(node)
        elif node.kind in FRAMES and node.span.usage is not None and node not in covered:
            own.add(node)
            covered.add(node)
        if node in covered and node.parent is not None:
            covered.add(node.parent)
    return own
