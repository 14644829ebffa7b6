"""The spans of one trace as a tree, and which run each of them belongs to."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Final

from tocsin.model.span import AGENT, TOOL, Kind, Span

__all__ = ["BEGUN", "CALLS", "FRAMES", "Node", "build_tree"]

CALLS: Final = frozenset({Kind.LLM, Kind.EMBEDDING})
CONTAINERS: Final = CALLS | {Kind.RUN, Kind.AGENT, Kind.TOOL, Kind.HANDOFF}
"""What begins work of its own: a call inside of one is not part of what is around that."""
FRAMES: Final = frozenset({Kind.RUN, Kind.AGENT, Kind.STEP})
MAIN: Final = frozenset({Kind.RUN, Kind.AGENT})
BEGUN: Final = attrgetter("started_ns", "span_id")
"""The order in which spans began, as a key."""


class Node:
    """A span, its place in the trace, and the run it belongs to.

    Nodes refer to those above them only: a circle would have to be found by the garbage collector.
    """

    __slots__ = (
        *("agent", "container", "has_frame", "has_main", "kind", "nested", "parent", "place"),
        *("root_id", "span"),
    )

    def __init__(self, span: Span, place: int) -> None:
        self.span = span
        self.kind = span.kind
        self.place = place
        """Among all spans of the trace, in the order they began."""
        self.parent: Node | None = None
        self.agent: Node | None = None
        """The nearest agent above."""
        self.container: Node | None = None
        """The nearest call, tool, agent or workflow above."""
        self.nested = False
        """Inside of a tool, which deals with what goes wrong there."""
        self.has_frame = self.kind in FRAMES
        """It or a span above is a RUN, AGENT or STEP."""
        self.has_main = self.kind in MAIN
        """It or a span above is a RUN or AGENT."""
        self.root_id = span.span_id
        """Id of the span that stands for its run.

        The highest workflow or agent, with the steps around an agent; where there is neither, the
        highest step, else the local root. One workflow inside another belongs to the outer one.
        Steps around a workflow do not: they may hold several workflows.
        """

    def put_below(self, parent: "Node") -> None:
        """Take over what the parent, which has its own place, tells of what is above."""
        self.parent = parent
        self.agent = parent if parent.kind is AGENT else parent.agent
        self.container = parent if parent.kind in CONTAINERS else parent.container
        self.nested = parent.nested or parent.kind is TOOL
        if parent.has_main or not self._begins_run(parent):
            self.root_id = parent.root_id
        self.has_frame = self.has_frame or parent.has_frame
        self.has_main = self.has_main or parent.has_main

    def _begins_run(self, parent: "Node") -> bool:
        return self.kind is Kind.RUN or (self.has_frame and not parent.has_frame)

    def above(self) -> Iterator["Node"]:
        """Every span around this one, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


def build_tree(spans: Iterable[Span]) -> list[Node]:
    """Link spans to their parents; parents come before their children, else who began first does.

    A span that was delivered twice counts once; one whose parent is not known is a local root. In
    a circle of parents, the first to start is taken for the root.
    """
    unique: dict[str, Span] = {}
    for span in spans:
        unique.setdefault(span.span_id, span)
    ordered = sorted(unique.values(), key=BEGUN)
    nodes = {span.span_id: Node(span, place) for place, span in enumerate(ordered)}
    placed: dict[Node, None] = {}
    for node in nodes.values():
        if node not in placed:
            _place(node, nodes, placed)
    return list(placed)


def _place(node: Node, nodes: dict[str, Node], placed: dict[Node, None]) -> None:
    """Put a span below its parent, after all above it that have no place yet."""
    pending: dict[Node, None] = {node: None}
    parent = _parent(node, nodes)
    while parent is not None and parent not in placed:
        if parent in pending:
            pending, parent = _cut_open(list(pending), parent), None
            break
        pending[parent] = None
        parent = _parent(parent, nodes)
    for waiting in reversed(pending):
        if parent is not None:
            waiting.put_below(parent)
        placed[waiting] = None
        parent = waiting


def _cut_open(chain: list[Node], end: Node) -> dict[Node, None]:
    """Leave of a chain, each the child of the next, what is below the first to start of a circle.

    end: where in the chain the circle begins. The others come below when it is their turn.
    """
    first = min(chain[chain.index(end) :], key=attrgetter("place"))
    return dict.fromkeys(chain[: chain.index(first) + 1])


def _parent(node: Node, nodes: dict[str, Node]) -> Node | None:
    parent_id = node.span.parent_id
    return nodes.get(parent_id) if parent_id else None
