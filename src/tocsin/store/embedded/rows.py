"""Spans and runs <-> the columns of their tables, by way of Arrow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from arro3.core import Array, DataType, Table

from tocsin.model.run import Outcome, Run
from tocsin.model.span import Cost, ErrorClass, Kind, Span, Usage
from tocsin.store.base import StoredRun, StoredSpan
from tocsin.store.embedded.schema import RUN_COLUMNS, SPAN_COLUMNS, Column

__all__ = [
    "RUN_VALUES",
    "SPAN_NAMES",
    "SPAN_VALUES",
    "read_run",
    "read_span",
    "runs_table",
    "spans_table",
    "text_array",
    "times_table",
]

Row = tuple[Any, ...]
Given = TypeVar("Given")
Made = TypeVar("Made")

MAX_NS: Final = 1 << 62
MAX_COUNT: Final = 1 << 40
"""Ten million spans of so many tokens still add up within 64 bits."""
MAX_USD: Final = Decimal(1_000_000)
USD_STEP: Final = Decimal("1e-12")
MOST_USD: Final = str(MAX_USD - USD_STEP)
WRAP: Final = 1 << 64

SPAN_NAMES: Final = tuple(column.name for column in SPAN_COLUMNS)
encode: Final = msgspec.json.Encoder().encode


def spans_table(stored: Sequence[StoredSpan], labels: Sequence[int | None], seq: int) -> Table:
    """Lay out spans, at least one, for an INSERT that takes `SPAN_VALUES`, numbered from seq on."""
    # By columns: most are taken whole, and one check of a column costs less than one per value.
    known = _transpose(StoredSpan, stored)
    found = _transpose(Span, known["span"])
    values = found | {
        **{name: known[name] for name in ("workflow", "run_id", "provider", "retry")},
        "span_workflow": found["workflow"],
        "span_provider": found["provider"],
        **{name: _bounded(found[name], MAX_NS) for name in ("started_ns", "ended_ns")},
        "calls": _bounded(found["calls"], MAX_COUNT),
        **_usage_columns(found["usage"]),
        **_cost_columns(known["cost"]),
        "reported_cost_usd": [_optional(_usd, usd) for usd in found["reported_cost_usd"]],
        "arguments": [_optional(_signed, number) for number in found["arguments"]],
        "attributes": list(map(_map, found["attributes"])),
        "content": list(map(_map, known["content"])),
        "seq": range(seq, seq + len(stored)),
        "label": labels,
    }
    return _table((*LIVE_COLUMNS, *SPAN_COLUMNS), values)


def times_table(times_ns: Sequence[int]) -> Table:
    """Lay out moments as the one column of a table."""
    return Table.from_arrays([Array(times_ns, DataType.int64())], names=["time_ns"])


def runs_table(rows: Iterable[tuple[StoredRun, int, int, int | None]]) -> Table:
    """Lay out runs for an INSERT that takes `RUN_VALUES`.

    rows: run, the times between which those of its spans began that are at hand, label.
    """
    columns = (*RUN_COLUMNS, Column("label", "INTEGER"))
    laid_out = zip(*[(*_run_row(*row[:-1]), row[-1]) for row in rows], strict=True)
    return _table(columns, dict(zip((column.name for column in columns), laid_out, strict=True)))


def read_span(row: Row) -> StoredSpan:
    """Make a span of the values of `SPAN_NAMES`."""
    value = dict(zip(SPAN_NAMES, row, strict=True))
    get = value.__getitem__
    fields = {name: get(name) for name in PLAIN}
    span = Span(
        **fields,
        kind=Kind(get("kind")),
        error=_optional(ErrorClass, get("error")),
        outcome=_optional(Outcome, get("outcome")),
        workflow=get("span_workflow"),
        provider=get("span_provider"),
        usage=_read_usage(value),
        attributes=get("attributes") or {},
        scope=get("scope") or "",
    )
    return StoredSpan(
        span=span,
        workflow=get("workflow"),
        run_id=get("run_id"),
        provider=get("provider"),
        cost=_read_cost(value),
        retry=get("retry"),
        content=get("content") or {},
    )


def read_run(row: Row) -> StoredRun:
    """Make a run of the values of all columns of `runs`."""
    value = dict(zip((column.name for column in RUN_COLUMNS), row, strict=True))
    del value["first_ns"], value["last_ns"]
    service, environment = value.pop("service"), value.pop("environment")
    value["outcome"] = _optional(Outcome, value["outcome"])
    run = Run(**value, started_mono_ns=0)
    return StoredRun(run=run, service=service, environment=environment)


def _values(columns: Sequence[Column]) -> str:
    """Write a select list that turns what `_table` lays out into the columns' types."""
    return ", ".join(_value(column) for column in columns)


def _value(column: Column) -> str:
    if column.type.startswith("MAP"):
        return f"""from_json({column.name}, '"{column.type}"') AS {column.name}"""
    if column.type.startswith("DECIMAL"):
        return f"CAST({column.name} AS {column.type}) AS {column.name}"
    return column.name


LIVE_COLUMNS: Final = (Column("seq", "BIGINT"), Column("label", "INTEGER"))
SPAN_VALUES: Final = f"seq, label, {_values(SPAN_COLUMNS)}"
RUN_VALUES: Final = f"{_values(RUN_COLUMNS)}, label"

PLAIN: Final = (
    *("trace_id", "span_id", "parent_id", "name", "started_ns", "ended_ns", "model"),
    *("response_model", "endpoint", "service_tier", "calls", "response_id", "finish_reason"),
    *("reported_cost_usd", "conversation_id", "agent", "service", "environment", "is_retry"),
    *("first_token_s", "arguments", "from_agent", "to_agent", "triggered"),
)
"""Fields of Span whose columns have the same name and hold the same value."""


def _run_row(stored: StoredRun, first_ns: int, last_ns: int) -> Row:
    run = stored.run
    counts = (run.priced_calls, run.unpriced_calls, run.usage_missing, run.turns)
    return (
        *(run.run_id, run.trace_id, run.workflow, _time(run.started_ns)),
        *(None if run.ended_ns is None else _time(run.ended_ns), run.conversation_id, run.outcome),
        *(_count(run.llm_calls), _count(run.input_tokens), _count(run.output_tokens)),
        *(_usd(run.cost_usd) or MOST_USD, *map(_count, counts)),
        *(_count(run.tool_calls), _count(run.handoffs)),
        *(stored.service, stored.environment, _time(first_ns), _time(last_ns)),
    )


def _transpose(kind: type[msgspec.Struct], records: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Lay out records of one kind by fields."""
    values = zip(*map(msgspec.structs.astuple, records), strict=True)
    return dict(zip(kind.__struct_fields__, values, strict=True))


USAGE: Final = Usage.__struct_fields__
NO_USAGE: Final = (None,) * len(USAGE)
COST: Final = ("cost_usd", *(f"cost_{name}_usd" for name in Cost.__struct_fields__))
NO_COST: Final = (None,) * len(COST)


def _usage_columns(usages: Sequence[Usage | None]) -> dict[str, Sequence[Any]]:
    rows = [NO_USAGE if usage is None else msgspec.structs.astuple(usage) for usage in usages]
    columns = zip(USAGE, zip(*rows, strict=True), strict=True)
    return {name: _bounded(values, MAX_COUNT) for name, values in columns}


def _cost_columns(costs: Sequence[Cost | None]) -> dict[str, Sequence[Any]]:
    rows = [NO_COST if cost is None else _cost_row(cost) for cost in costs]
    return dict(zip(COST, zip(*rows, strict=True), strict=True))


def _cost_row(cost: Cost) -> Row:
    total = cost.total
    # What cannot be written is unknown as a whole: a sum of the rest would look like a price.
    if not total.is_finite() or abs(total) >= MAX_USD:
        return NO_COST
    return tuple(map(str, (total, *msgspec.structs.astuple(cost))))


def _read_usage(value: dict[str, Any]) -> Usage | None:
    if value["input_tokens"] is None:
        return None
    return Usage(*(value[name] for name in USAGE))


def _read_cost(value: dict[str, Any]) -> Cost | None:
    if value["cost_usd"] is None:
        return None
    return Cost(*(value[name] for name in COST[1:]))


def _optional(make: Callable[[Given], Made], value: Given | None) -> Made | None:
    return None if value is None else make(value)


# Spans come from the network: a value that no real program reports must not stop a batch.


def _time(time_ns: int) -> int:
    return min(max(time_ns, 0), MAX_NS)


def _count(count: int) -> int:
    return min(max(count, 0), MAX_COUNT)


def _bounded(values: Sequence[int | None], most: int) -> Sequence[int | None]:
    known = [value for value in values if value is not None]
    if not known or (min(known) >= 0 and max(known) <= most):
        return values
    return [None if value is None else min(max(value, 0), most) for value in values]


def _usd(amount: Decimal) -> str | None:
    if not amount:
        return "0"
    if not amount.is_finite() or abs(amount) >= MAX_USD:
        return None
    return str(amount.quantize(USD_STEP))


def _map(entries: dict[str, str]) -> str | None:
    if not entries:
        return None
    try:
        return encode(entries).decode()
    except UnicodeEncodeError:
        return encode({_clean(key): _clean(value) for key, value in entries.items()}).decode()


def _signed(number: int) -> int:
    number %= WRAP
    return number - WRAP if number >= WRAP // 2 else number


def _table(columns: Sequence[Column], values: Mapping[str, Sequence[Any]]) -> Table:
    arrays = [_array(column, values[column.name]) for column in columns]
    return Table.from_arrays(arrays, names=[column.name for column in columns])


def _array(column: Column, values: Sequence[Any]) -> Array:
    arrow = ARROW_TYPES.get(column.type)
    return text_array(values) if arrow is None else Array(values, arrow)


def text_array(values: Sequence[str | None]) -> Array:
    """Lay out text; lone surrogates, which no UTF-8 can hold, become "?"."""
    try:
        return Array(values, DataType.string())
    except UnicodeEncodeError:
        return Array([value and _clean(value) for value in values], DataType.string())


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


ARROW_TYPES: Final = {
    "BIGINT": DataType.int64(),
    "INTEGER": DataType.int32(),
    "BOOLEAN": DataType.bool(),
    "DOUBLE": DataType.float64(),
}
