from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.spans import call, run, seen, span
from tocsin.errors import ConfigError
from tocsin.meters.clients import ClientCosts, ClientMeters, bind
from tocsin.model.run import Outcome
from tocsin.model.span import Cost, ErrorClass, Kind, Usage

TAGS = {"workflow": "w"}


class Client:
    """A metrics client that remembers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, float, dict[str, str]]] = []

    def counter(self, name: str, value: float, tags: dict[str, str]) -> None:
        self.sent.append(("counter", name, value, tags))

    def histogram(self, name: str, value: float, tags: dict[str, str]) -> None:
        self.sent.append(("histogram", name, value, tags))

    def names(self, method: str) -> list[str]:
        return [name for kind, name, *_ in self.sent if kind == method]


# --- any shape of client ------------------------------------------------------------------

got: list[Any] = []


class Shapes:
    """Methods as clients in the wild have them; each notes (name, value, tags)."""

    def plain(self, name: str, value: float, tags: Any) -> None:
        got.append((name, value, tags))

    def labels(self, metric: str, amount: float = 1, labels: Any = None) -> None:
        got.append((metric, amount, labels))

    def attributes_first(self, name: str, attributes: Any, value: float) -> None:
        got.append((name, value, attributes))

    def keyword_only(self, name: str, *, value: float, tags: Any) -> None:
        got.append((name, value, tags))

    def keyword_only_tags(self, name: str, value: float, *, dimensions: Any = None) -> None:
        got.append((name, value, dimensions))

    def odd_value_and_keyword_only_tags(self, name: str, val: float, *, tags: Any) -> None:
        got.append((name, val, tags))

    def odd_names(self, what: str, how_much: float, where: Any) -> None:
        got.append((what, how_much, where))

    def positional_only(self, name: str, value: float, tags: Any, /) -> None:
        got.append((name, value, tags))

    def positional_only_value(self, name: str, value: float, /, tags: Any) -> None:
        got.append((name, value, tags))

    def spread_tags(self, name: str, value: float, **tags: str) -> None:
        got.append((name, value, tags))

    def spread_labels_and_keyword_value(self, name: str, *, value: float, **labels: str) -> None:
        got.append((name, value, labels))

    def anything(self, *args: Any, **kwargs: Any) -> None:
        got.append((*args, *kwargs.values()))

    def keywords(self, name: str, value: float = 1, **kwargs: Any) -> None:
        got.append((name, value, kwargs["tags"]))

    def optional_extras(self, name: str, n: float, attrs: Any, rate: float = 1.0) -> None:
        got.append((name, n, attrs))

    @staticmethod
    def static(name: str, value: float, tags: Any) -> None:
        got.append((name, value, tags))

    @classmethod
    def of_class(cls, name: str, value: float, tags: Any) -> None:
        got.append((name, value, tags))


SHAPES = [name for name in vars(Shapes) if not name.startswith("_")]


@pytest.mark.parametrize("method", SHAPES)
def test_any_shape_of_method_gets_name_value_and_tags(method: str) -> None:
    got.clear()
    bind(Shapes(), method)("n", 2.5, TAGS)

    assert [("n", 2.5, TAGS)] == got


class Unsigned:
    """A callable that does not tell its parameters, like a builtin."""

    __signature__ = "nonsense"

    def __call__(self, *args: Any) -> None:
        got.append(args)


def test_callable_without_a_signature_is_called_by_position() -> None:
    got.clear()
    client = Client()
    client.counter = Unsigned()  # type: ignore[method-assign, assignment]
    bind(client, "counter")("n", 1, TAGS)

    assert [("n", 1, TAGS)] == got


@pytest.mark.parametrize(
    "client",
    [
        object(),
        None,
        7,
        type("C", (), {"counter": 3})(),
        type("C", (), {"counter": lambda self: None})(),
        type("C", (), {"counter": lambda self, name, value: None})(),
        type("C", (), {"counter": lambda self, name, value, tags, must: None})(),
    ],
)
def test_client_without_the_method_is_refused(client: Any) -> None:
    with pytest.raises(ConfigError, match=r"has no method counter\(name, value, tags\)"):
        ClientMeters(client)


def test_missing_method_is_named() -> None:
    client = type("OnlyCounts", (), {"counter": lambda *_: None})()
    with pytest.raises(ConfigError) as caught:
        ClientMeters(client)

    assert "metrics client OnlyCounts has no method histogram(name, value, tags)" == str(
        caught.value
    )


def test_methods_that_are_not_used_may_be_missing() -> None:
    client = type("OnlyCounts", (), {"counter": lambda *_: None})()

    assert ClientCosts(client).sink == "client"


# --- what is sent -------------------------------------------------------------------------


def test_call_sends_durations_and_tokens() -> None:
    client = Client()
    ClientMeters(client).span_ended(seen(call("gpt-4o", Usage(10, 5))))

    tags = {"model": "gpt-4o", "workflow": "w"}
    assert [
        ("histogram", "agent.span.duration_seconds", 1.0, {"span_type": "llm", "workflow": "w"}),
        ("histogram", "agent.llm.duration_seconds", 1.0, tags),
        ("counter", "agent.tokens.input_total", 10, tags),
        ("counter", "agent.tokens.output_total", 5, tags),
    ] == client.sent


def test_unknown_usage_sends_no_tokens() -> None:
    client = Client()
    ClientMeters(client).span_ended(seen(call("gpt-4o", None)))

    assert [] == client.names("counter")


def test_rollup_sends_tokens_only() -> None:
    client = Client()
    ClientMeters(client).span_ended(seen(call("gpt-4o", Usage(10, 5), calls=0)))

    assert ([], 2) == (client.names("histogram"), len(client.names("counter")))


TOOLS = [(None, 0), (ErrorClass.TIMEOUT, 1), (ErrorClass.CANCELLED, 0)]


@pytest.mark.parametrize(("error", "errors"), TOOLS)
def test_tool_sends_its_duration_and_its_errors(error: ErrorClass | None, errors: int) -> None:
    client = Client()
    ClientMeters(client).span_ended(seen(span(Kind.TOOL, name="t", error=error)))

    assert ["agent.span.duration_seconds", "agent.tool.duration_seconds"] == client.names(
        "histogram"
    )
    assert ["agent.tool.errors_total"] * errors == client.names("counter")


@pytest.mark.parametrize(("outcome", "expected"), [(Outcome.ERROR, "error"), (None, "unknown")])
def test_run_sends_its_completion(outcome: Outcome | None, expected: str) -> None:
    client = Client()
    ClientMeters(client).run_ended(run(lasts_s=2, outcome=outcome), 1)

    assert [
        ("histogram", "agent.workflow.duration_seconds", 2.0, TAGS),
        ("counter", "agent.workflow.completions_total", 1, TAGS | {"outcome": expected}),
    ] == client.sent


def test_cost_is_sent_by_type_without_zeros() -> None:
    client = Client()
    cost = Cost(Decimal("0.1"), Decimal("0.2"), Decimal(0), Decimal(0))
    ClientCosts(client).span_ended(seen(call("gpt-4o", Usage(10, 5)), cost=cost))

    assert [("input", 0.1), ("output", 0.2)] == [
        (tags["cost_type"], value) for _, _, value, tags in client.sent
    ]


def test_unknown_cost_is_not_sent() -> None:
    client = Client()
    ClientCosts(client).span_ended(seen(call("gpt-4o", Usage(10, 5))))

    assert [] == client.sent


def test_tags_are_plain_strings() -> None:
    client = Client()
    meters = ClientMeters(client)
    meters.span_ended(seen(call(None, Usage(1, 1))))
    meters.run_ended(run(lasts_s=1, outcome=Outcome.OK), None)

    assert {str} == {type(value) for *_, tags in client.sent for value in tags.values()}
