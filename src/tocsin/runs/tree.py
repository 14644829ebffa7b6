"""The spans of one trace as a tree, and which run each of them belongs to."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from tocsin.model.span import Kind, Span

__all__ = ["CALLS", "FRAMES", "Node", "build_tree"]

CALLS: Final = frozenset({Kind.LLM, Kind.EMBEDDING})
CONTAINERS: Final = CALLS | {Kind.RUN, Kind.AGENT, Kind.TOOL, Kind.HANDOFF}
"""What begins work of its own: a call inside of one is not part of what is around that."""
FRAMES: Final = frozenset({Kind.RUN, Kind.AGENT, Kind.STEP})


class Node:
    """A span, its place in the trace, and the top of the run it belongs to."""

    __slots__ = (
        *("agent", "children", "container", "frame", "main", "nested", "parent", "span", "top"),
    )

    def __init__(self, span: Span) -> None:
        self.span = span
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.top: Node = self
        """The local root above: the highest span that is known."""
        self.frame: Node | None = None
        """The highest RUN, AGENT or STEP, itself included."""
        self.main: Node | None = None
        """The highest RUN or AGENT, itself included."""
        self.agent: Node | None = None
        """The nearest agent above."""
        self.container: Node | None = None
        """The nearest call, tool, agent or workflow above."""
        self.nested = False
        """Inside of a tool, which deals with what goes wrong there."""

    @property
    def run_root(self) -> "Node":
        """The span that stands for this one's run.

        The highest workflow or agent, with the steps around an agent; where there is neither, the
        highest step, else the local root. One workflow inside another belongs to the outer one.
        Steps around a workflow do not: they may hold several workflows.
        """
        if self.main is None:
            return self.frame or self.top
        if self.main.span.kind is Kind.RUN or self.frame is None:
            return self.main
        return self.frame

    def above(self) -> Iterator["Node"]:
        """Every span around this one, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


def build_tree(spans: Iterable[Span]) -> list[Node]:
    """Link spans to their parents; parents come before their children.

    A span that was delivered twice counts once; one whose parent is not known is a local root. In
    a circle of parents, the first to start is taken for the root.
    """
    nodes: dict[str, Node] = {}
    for span in spans:
        if span.span_id not in nodes:
            nodes[span.span_id] = Node(span)
    ordered = sorted(nodes.values(), key=lambda node: (node.span.started_ns, node.span.span_id))
    roots: list[Node] = []
    for node in ordered:
        node.parent = nodes.get(node.span.parent_id) if node.span.parent_id else None
        (roots if node.parent is None else node.parent.children).append(node)
    placed = _walk(roots)
    if len(placed) < len(ordered):
        placed = _break_circles(ordered, placed)
    return placed


def _walk(roots: Iterable[Node]) -> list[Node]:
    queue, placed = deque(roots), []
    while queue:
        node = queue.popleft()
        _place(node)
        placed.append(node)
        queue.extend(node.children)
    return placed


def _break_circles(ordered: list[Node], placed: list[Node]) -> list[Node]:
    done = set(placed)
    for node in ordered:
        if node not in done:
            if node.parent is not None:
                node.parent.children.remove(node)
            node.parent = None
            found = _walk([node])
            done.update(found)
            placed.extend(found)
    return placed


def _place(node: Node) -> None:
    parent, kind = node.parent, node.span.kind
    if parent is not None:
        node.top, node.frame, node.main = parent.top, parent.frame, parent.main
        node.agent = parent if parent.span.kind is Kind.AGENT else parent.agent
        node.container = parent if parent.span.kind in CONTAINERS else parent.container
        node.nested = parent.nested or parent.span.kind is Kind.TOOL
    if node.frame is None and kind in FRAMES:
        node.frame = node
    if node.main is None and kind in (Kind.RUN, Kind.AGENT):
        node.main = node
