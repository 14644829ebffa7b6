"""All dialects together."""

import pytest

from tests.fakes.otlp import decode_one
from tocsin.model.span import Kind
from tocsin.sources.dialects.all import VOCABULARY
from tocsin.sources.dialects.plan import MAX_MEMO, MAX_PLANS, Memo, Readers
from tocsin.sources.otlp_wire import PROTOBUF


def test_kind_rules_are_asked_in_the_order_of_their_ranks() -> None:
    ranks = [rule.rank for rule in VOCABULARY.kinds]
    assert sorted(ranks) == ranks
    assert len(VOCABULARY.kinds) == len({(r.rank, r.attribute) for r in VOCABULARY.kinds})


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"gen_ai.operation.name": "chat", "openinference.span.kind": "CHAIN"}, Kind.LLM),
        ({"gen_ai.operation.name": "new", "openinference.span.kind": "CHAIN"}, Kind.STEP),
        ({"openinference.span.kind": "TOOL", "traceloop.span.kind": "agent"}, Kind.TOOL),
        ({"traceloop.span.kind": "agent", "llm.request.type": "chat"}, Kind.AGENT),
        ({"llm.request.type": "chat", "ai.operationId": "ai.toolCall"}, Kind.LLM),
        ({"gen_ai.operation.name": ["chat"], "llm.request.type": 5}, Kind.OTHER),
    ],
)
def test_the_first_rule_that_knows_wins(attributes: dict[str, object], kind: Kind) -> None:
    assert kind == decode_one(attributes=attributes).kind


def test_memory_is_bounded() -> None:
    memo: Memo[str, int] = Memo(len)
    for number in range(3 * MAX_MEMO):
        assert len(str(number)) == memo[str(number)]
    assert len(memo) <= MAX_MEMO
    assert 1000 == memo["x" * 1000]
    assert "x" * 1000 not in memo


def test_plans_are_bounded_whatever_attributes_come() -> None:
    readers = Readers(PROTOBUF)
    for number in range(MAX_PLANS + 10):
        readers.find_plan({f"noise.{number}": b""})
        readers.find_plan(dict.fromkeys(["x" * 10_000 + str(number), "error.type"], b""))
    assert len(readers._plans) <= MAX_PLANS
    assert all(sum(map(len, keys)) < 100 for keys in readers._plans)
