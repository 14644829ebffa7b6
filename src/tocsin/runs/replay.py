"""Finished spans, all at once -> the tally that would have been kept of them."""

from collections.abc import Callable, Sequence
from typing import Final

from tocsin.model.span import Kind, Span
from tocsin.runs.fold import Placed
from tocsin.runs.tally import Tally
from tocsin.runs.tree import CALLS, Node, build_tree
from tocsin.sources.tocsin_attributes import NESTED, RUN_ID

__all__ = ["tally_of"]

BEGIN: Final = 0
END: Final = 1


def tally_of(placed: Sequence[Placed], cost_usd: Callable[[Span], float | None]) -> Tally:
    """Tally the spans of one run, in any order; calls told twice count once, as in the run.

    cost_usd: price of a call; None where it has none.
    """
    nodes = build_tree(one.span for one in placed)
    tally = Tally(min((node.span.started_ns for node in nodes), default=0))
    counted = {one.span.span_id: one.span for one in placed if one.counted}
    # Parents begin before what is inside of them, and end after it.
    moments = [(node.span.started_ns, BEGIN, index) for index, node in enumerate(nodes)]
    moments += [(node.span.ended_ns, END, -index) for index, node in enumerate(nodes)]
    for _, what, index in sorted(moments):
        node = nodes[abs(index)]
        if what == BEGIN:
            _begin(tally, node)
        else:
            _end(tally, node, counted.get(node.span.span_id), cost_usd)
    return tally


def _begin(tally: Tally, node: Node) -> None:
    span = node.span
    kind = Kind.AGENT if _is_turn(span) else span.kind
    parent_id = None if node.parent is None else node.parent.span.span_id
    tally.begin(span.span_id, parent_id, kind, span.name, span.started_ns, span.agent)


def _end(
    tally: Tally, node: Node, counted: Span | None, cost_usd: Callable[[Span], float | None]
) -> None:
    span = node.span
    kind = Kind.OTHER if NESTED in span.attributes else span.kind
    taker = tally.end(span.span_id, kind, span.model, span.ended_ns)
    if counted is not None and counted.kind in CALLS:
        if span.kind not in CALLS:  # an agent that alone knows what its calls used
            taker = tally.model_in(taker, counted.model)
        tally.add(taker, counted.usage, cost_usd(counted))


def _is_turn(span: Span) -> bool:
    """Whether a step is a turn of the agent whose name it has, as in our own exporter's."""
    return span.kind is Kind.STEP and RUN_ID in span.attributes
