"""The database's tables, their versions, and the way from each version to the next."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from tocsin.errors import StoreError
from tocsin.store.embedded.cursor import Cursor, first_row

__all__ = [
    "MIGRATIONS",
    "RUN_COLUMNS",
    "SPAN_COLUMNS",
    "Column",
    "migrate",
]


class Column(NamedTuple):
    """A column of `spans`; files sealed before version `since` have nothing there."""

    name: str
    type: str
    since: int = 1


USD: Final = "DECIMAL(18, 12)"

SPAN_COLUMNS: Final = (
    Column("trace_id", "VARCHAR"),
    Column("span_id", "VARCHAR"),
    Column("parent_id", "VARCHAR"),
    Column("run_id", "VARCHAR"),
    Column("kind", "VARCHAR"),
    Column("name", "VARCHAR"),
    Column("workflow", "VARCHAR"),
    Column("span_workflow", "VARCHAR"),
    Column("started_ns", "BIGINT"),
    Column("ended_ns", "BIGINT"),
    Column("error", "VARCHAR"),
    Column("outcome", "VARCHAR"),
    Column("model", "VARCHAR"),
    Column("response_model", "VARCHAR"),
    Column("provider", "VARCHAR"),
    Column("span_provider", "VARCHAR"),
    Column("endpoint", "VARCHAR"),
    Column("service_tier", "VARCHAR"),
    Column("input_tokens", "BIGINT"),
    Column("output_tokens", "BIGINT"),
    Column("cache_read_tokens", "BIGINT"),
    Column("cache_write_tokens", "BIGINT"),
    Column("reasoning_tokens", "BIGINT"),
    Column("calls", "BIGINT"),
    Column("response_id", "VARCHAR"),
    Column("finish_reason", "VARCHAR"),
    Column("cost_usd", USD),
    Column("cost_input_usd", USD),
    Column("cost_output_usd", USD),
    Column("cost_cache_read_usd", USD),
    Column("cost_cache_write_usd", USD),
    Column("reported_cost_usd", USD),
    Column("conversation_id", "VARCHAR"),
    Column("agent", "VARCHAR"),
    Column("service", "VARCHAR"),
    Column("environment", "VARCHAR"),
    Column("is_retry", "BOOLEAN"),
    Column("retry", "BOOLEAN"),
    Column("first_token_s", "DOUBLE"),
    Column("arguments", "BIGINT"),
    Column("from_agent", "VARCHAR"),
    Column("to_agent", "VARCHAR"),
    Column("triggered", "BOOLEAN"),
    Column("attributes", "MAP(VARCHAR, VARCHAR)"),
    Column("content", "MAP(VARCHAR, VARCHAR)"),
    Column("scope", "VARCHAR", since=2),
)
"""What a span is in the live table and in sealed files; `rows.py` fills it in this order."""

RUN_COLUMNS: Final = (
    Column("run_id", "VARCHAR PRIMARY KEY"),
    Column("trace_id", "VARCHAR"),
    Column("workflow", "VARCHAR"),
    Column("started_ns", "BIGINT"),
    Column("ended_ns", "BIGINT"),
    Column("conversation_id", "VARCHAR"),
    Column("outcome", "VARCHAR"),
    Column("llm_calls", "BIGINT"),
    Column("input_tokens", "BIGINT"),
    Column("output_tokens", "BIGINT"),
    Column("cost_usd", USD),
    Column("priced_calls", "BIGINT"),
    Column("unpriced_calls", "BIGINT"),
    Column("usage_missing", "BIGINT"),
    Column("turns", "BIGINT"),
    Column("tool_calls", "BIGINT"),
    Column("handoffs", "BIGINT"),
    Column("service", "VARCHAR"),
    Column("environment", "VARCHAR"),
    Column("first_ns", "BIGINT"),
    Column("last_ns", "BIGINT"),
)
"""first_ns, last_ns: between which moments the run's spans began, to find them by time."""


def _columns(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in columns if column.since == 1)


VERSION_1: Final = (
    f"CREATE TABLE spans (seq BIGINT, label INTEGER, {_columns(SPAN_COLUMNS)})",
    f"CREATE TABLE runs ({_columns(RUN_COLUMNS)}, label INTEGER)",
    """CREATE TABLE labels (label INTEGER, kind VARCHAR, workflow VARCHAR, name VARCHAR,
    model VARCHAR, agent VARCHAR, service VARCHAR, environment VARCHAR)""",
    """CREATE TABLE usage_hourly (hour INTEGER, label INTEGER, error VARCHAR, spans BIGINT,
    calls BIGINT, input_tokens BIGINT, output_tokens BIGINT, cache_read_tokens BIGINT,
    cache_write_tokens BIGINT, reasoning_tokens BIGINT, usage_missing BIGINT, unpriced BIGINT,
    cost_usd DECIMAL(38, 12))""",
    """CREATE TABLE latency_hourly (hour INTEGER, label INTEGER, bucket SMALLINT,
    spans INTEGER)""",
    """CREATE TABLE sealed (file VARCHAR, day DATE, version INTEGER, spans BIGINT,
    first_ns BIGINT, last_ns BIGINT)""",
    "CREATE TABLE state (position BIGINT, rolled_seq BIGINT, last_seq BIGINT)",
    "INSERT INTO state VALUES (0, 0, 0)",
)
"""`spans` holds what is not sealed yet, in order of arrival (seq). Labels say what spans and runs
are grouped by (`labels.py`). The hourly tables sum up spans
up to `rolled_seq`, wherever those are now; one key may have several rows. hour: since the epoch."""

VERSION_2: Final = ("ALTER TABLE spans ADD COLUMN scope VARCHAR",)
"""Which instrumentation recorded a span: calls and runs that are read back are judged by it."""

VERSION_3: Final = (
    """CREATE TABLE budget_spending (budget VARCHAR, period_ns BIGINT, worker VARCHAR,
    usd DECIMAL(38, 12), priced BIGINT, unpriced BIGINT,
    PRIMARY KEY (budget, period_ns, worker))""",
    """CREATE TABLE budget_timeline (budget VARCHAR, slot_s BIGINT, usd DECIMAL(38, 12),
    PRIMARY KEY (budget, slot_s))""",
    f"""CREATE TABLE budget_leases (budget VARCHAR, period_ns BIGINT, worker VARCHAR, seq BIGINT,
    granted_usd {USD}, used_usd {USD}, PRIMARY KEY (budget, period_ns, worker))""",
)
"""What spans cost by budget, added up with them, and when; what processes may spend."""

MIGRATIONS: Final[tuple[Sequence[str], ...]] = (VERSION_1, VERSION_2, VERSION_3)
"""Statements that lead from version n to n + 1. Never change one that was released."""


def migrate(cursor: Cursor, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a database, which may be empty, to the newest version, in one transaction.

    Raises StoreError where the database is from a newer program.
    """
    cursor.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER)")
    row = first_row(cursor, "SELECT max(version) FROM schema_version")
    version = (row and row[0]) or 0
    check_version(version, len(migrations))
    if version == len(migrations):
        return
    for statements in migrations[version:]:
        for statement in statements:
            cursor.execute(statement)
    cursor.execute("DELETE FROM schema_version")
    cursor.execute("INSERT INTO schema_version VALUES (?)", [len(migrations)])


def check_version(version: int, known: int) -> None:
    """Raise StoreError where the database is from a newer program."""
    if version > known:
        raise StoreError(
            f"the data directory has schema version {version}, this program knows up to {known}; "
            "run the newer Tocsin that wrote it, or start with another --data"
        )
