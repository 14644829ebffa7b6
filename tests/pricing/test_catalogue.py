from collections.abc import Iterator
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as OracleUsage
from genai_prices import calc_price, data_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import NS
from tests.fakes.spans import call
from tocsin.errors import ConfigError
from tocsin.model.span import Usage
from tocsin.pricing.catalogue import MAX_RESOLVED, PriceBook, compile_rates

MILLION = Usage(1_000_000, 1_000_000)
CACHED = Usage(10_000, 500, 8_000)
TODAY = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def total(book: PriceBook, model: str | None, usage: Usage | None, **fields: Any) -> Decimal | None:
    cost = book.cost(call(model, usage, **({"started_ns": ns(TODAY)} | fields)))
    return None if cost is None else cost.total


def ns(at: datetime) -> int:
    return int(at.timestamp()) * NS


def oracle(usage: Usage) -> OracleUsage:
    return OracleUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )


MODELS = [
    ("gpt-4o", "2.50", "10"),
    ("gpt-4o-mini", "0.15", "0.60"),
    ("gpt-4.1", "2", "8"),
    ("gpt-4.1-mini", "0.40", "1.60"),
    ("gpt-4.1-nano", "0.10", "0.40"),
]


@pytest.mark.parametrize(("model", "read", "written"), MODELS)
def test_openai_list_prices(book: PriceBook, model: str, read: str, written: str) -> None:
    cost = book.cost(call(model, MILLION, started_ns=ns(TODAY)))

    assert cost is not None
    assert (Decimal(read), Decimal(written)) == (cost.input, cost.output)


CHECKED = [
    ("gpt-4o", CACHED, "0.020"),
    ("gpt-4.1-nano", CACHED, "0.0006"),
    ("claude-sonnet-4-5", CACHED, "0.0159"),
    ("gemini-2.5-flash", CACHED, "0.00209"),
    # Above 200k tokens of input everything is dearer: 300k at $6 and 500 at $22.50.
    ("claude-sonnet-4-5", Usage(300_000, 500), "1.81125"),
    ("claude-sonnet-4-5", Usage(200_000, 0), "0.6"),
    ("claude-sonnet-4-5", Usage(10_000, 0, 0, 8_000), "0.036"),
]


@pytest.mark.parametrize(("model", "usage", "expected"), CHECKED)
def test_figures_checked_by_hand(book: PriceBook, model: str, usage: Usage, expected: str) -> None:
    assert Decimal(expected) == total(book, model, usage)


@pytest.mark.parametrize("model", [*(name for name, *_ in MODELS), "claude-sonnet-4-5", "o3"])
@pytest.mark.parametrize("usage", [MILLION, CACHED, Usage(300_000, 5, 1_000, 2_000)])
def test_agrees_with_calc_price(book: PriceBook, model: str, usage: Usage) -> None:
    expected = calc_price(oracle(usage), model, genai_request_timestamp=TODAY).total_price

    assert expected == total(book, model, usage)


TIERS = [
    ("gpt-4o", "priority", {"service_tier": "priority"}),
    ("gpt-4o", "batch", {"processing": "batch"}),
    ("gpt-4o", "default", {}),
    ("gpt-4o", "auto", {}),
    ("gpt-4o", "on_demand", {}),
    ("gpt-4o", None, {}),
    ("o3", "flex", {"service_tier": "flex"}),
    ("o4-mini", "priority", {"service_tier": "priority"}),
    ("claude-sonnet-4-5", "batch", {"processing": "batch"}),
    ("claude-sonnet-4-5", "standard", {}),
    ("gemini-2.5-flash", "batch", {"processing": "batch"}),
]


@pytest.mark.parametrize(("model", "tier", "context"), TIERS)
def test_service_tier_selects_its_price(
    book: PriceBook, model: str, tier: str | None, context: dict[str, str]
) -> None:
    expected = calc_price(
        oracle(CACHED), model, genai_request_timestamp=TODAY, price_context=context
    ).total_price

    assert expected == total(book, model, CACHED, service_tier=tier)


def test_priority_and_batch_differ_from_the_list_price(book: PriceBook) -> None:
    found = [total(book, "gpt-4o", MILLION, service_tier=t) for t in ("priority", None, "batch")]

    assert [Decimal("21.25"), Decimal("12.5"), Decimal("6.25")] == found


def test_reselling_provider_has_no_tiers_of_the_maker(book: PriceBook) -> None:
    endpoint = "https://acme.openai.azure.com"

    assert Decimal("12.5") == total(
        book, "gpt-4o", MILLION, endpoint=endpoint, service_tier="priority"
    )


def test_unknown_tier_costs_the_list_price_and_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = PriceBook()
    found = [
        total(
            book, "gpt-4o", MILLION, service_tier="scale", started_ns=ns(TODAY) + hour * 3600 * NS
        )
        for hour in range(3)
    ]

    assert [Decimal("12.5")] * 3 == found
    assert ["No price for gpt-4o at service tier scale: using its list price"] == caplog.messages


def test_known_tiers_do_not_warn(book: PriceBook, caplog: pytest.LogCaptureFixture) -> None:
    for tier in (None, "default", "auto", "standard", "on_demand", "priority", "batch"):
        total(book, "gpt-4o", CACHED, service_tier=tier)

    assert [] == caplog.messages


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [
        ("no-such-model", None),
        ("no-such-model", "https://api.openai.com/v1/"),
        ("my-deployment", "https://acme.openai.azure.com/openai/deployments/my-deployment"),
        ("openai/no-such-model", None),
        ("nobody/gpt-4o", "https://api.openai.com/v1/"),
        ("/", None),
        ("", None),
        ("openai/", None),
        ("/gpt-4o", None),
        (None, None),
        (None, "https://api.openai.com/v1/"),
    ],
)
def test_unknown_model_has_no_price(
    book: PriceBook, model: str | None, endpoint: str | None
) -> None:
    assert total(book, model, CACHED, endpoint=endpoint) is None


def test_unknown_usage_has_no_price(book: PriceBook) -> None:
    assert total(book, "gpt-4o", None) is None


PROVIDERS = [
    ("gpt-4o", "https://api.openai.com/v1/", "openai"),
    ("anything", "https://api.openai.com/v1/", "openai"),
    ("gpt-4o", "https://acme.openai.azure.com/openai/v1", "azure"),
    ("my-deployment", "https://acme.openai.azure.com", "azure"),
    ("claude-sonnet-4-5", "https://api.anthropic.com", "anthropic"),
    ("anthropic/claude-sonnet-4.5", "https://openrouter.ai/api/v1", "openrouter"),
    ("gpt-4o", "http://127.0.0.1:4000", "openai"),
    ("claude-sonnet-4-5", "http://litellm.internal/v1", "anthropic"),
    ("gpt-4o", None, "openai"),
    ("GPT-4o", None, "openai"),
    ("gemini-2.5-flash", None, "google"),
    ("anthropic/claude-sonnet-4-5", None, "anthropic"),
    ("openai/gpt-4o", None, "openai"),
    ("openai/gpt-4o", "http://127.0.0.1:4000", "openai"),
    ("azure/my-deployment", None, "azure"),
    ("mistral/mistral-large-latest", None, "mistral"),
    ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", None, "aws"),
    ("no-such-model", None, None),
    ("no-such-model", "http://127.0.0.1:4000", None),
    ("", "", None),
    (None, None, None),
]


@pytest.mark.parametrize(("model", "endpoint", "expected"), PROVIDERS)
def test_provider_is_told_from_the_endpoint_then_the_name(
    book: PriceBook, model: str | None, endpoint: str | None, expected: str | None
) -> None:
    assert expected == book.provider(call(model, endpoint=endpoint))


def test_reported_provider_wins(book: PriceBook) -> None:
    reported = call("gpt-4o", provider="azure", endpoint="https://api.openai.com")

    assert "azure" == book.provider(reported)


PREFIXED = [
    ("openai/gpt-4o", "gpt-4o", "openai"),
    ("OpenAI/GPT-4o", "gpt-4o", "openai"),
    ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5", "anthropic"),
    ("anthropic/claude-sonnet-4-5-20250929", "claude-sonnet-4-5", "anthropic"),
    ("gemini/gemini-2.5-flash", "gemini-2.5-flash", "google"),
    ("vertex_ai/gemini-2.5-flash", "gemini-2.5-flash", "google"),
    ("azure/gpt-4o", "gpt-4o", "azure"),
    ("deepseek/deepseek-chat", "deepseek-chat", "deepseek"),
    ("mistral/mistral-large-latest", "mistral-large-latest", "mistral"),
    ("groq/llama-3.3-70b-versatile", "llama-3.3-70b-versatile", "groq"),
    ("openrouter/anthropic/claude-sonnet-4", "anthropic/claude-sonnet-4", "openrouter"),
]


@pytest.mark.parametrize(("model", "bare", "provider"), PREFIXED)
@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:4000"])
def test_litellm_name_costs_what_the_model_costs(
    book: PriceBook, model: str, bare: str, provider: str, endpoint: str | None
) -> None:
    expected = calc_price(
        oracle(CACHED), bare, provider_id=provider, genai_request_timestamp=TODAY
    ).total_price

    assert expected == total(book, model, CACHED, endpoint=endpoint)


def test_answering_model_is_priced_before_the_requested_one(book: PriceBook) -> None:
    fallback = total(book, "gpt-4o", MILLION, response_model="gpt-4o-mini")

    assert Decimal("0.75") == fallback


def test_requested_model_is_priced_where_the_answer_names_an_unknown_one(book: PriceBook) -> None:
    assert Decimal("12.5") == total(book, "gpt-4o", MILLION, response_model="router-7")


@pytest.mark.parametrize("model", [name for name, *_ in MODELS] + ["claude-sonnet-4-5"])
@pytest.mark.parametrize(
    "usage", [Usage(10, 5, 8_000), Usage(0, 5, 8_000, 8_000), Usage(1, 0, 1, 1)]
)
def test_cache_beyond_the_input_is_priced_without_going_negative(
    book: PriceBook, model: str, usage: Usage
) -> None:
    cost = book.cost(call(model, usage, started_ns=ns(TODAY)))

    assert cost is not None
    assert min(cost.input, cost.output, cost.cache_read, cost.cache_write) >= 0


# --- the oracle ---------------------------------------------------------------------------


def priced_models() -> list[tuple[Provider, ModelInfo]]:
    return [
        (provider, model)
        for provider in data_snapshot.get_snapshot().providers
        for model in provider.models
        if compile_rates(model.get_prices(TODAY)) is not None
    ]


ALL_MODELS = priced_models()


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Consistent usage: cache within input, reasoning within output."""
    read = draw(st.integers(0, 2_000_000))
    written = draw(st.integers(0, 200_000))
    cache_read = draw(st.integers(0, read))
    return Usage(
        read,
        written,
        cache_read,
        draw(st.integers(0, read - cache_read)),
        draw(st.integers(0, written)),
    )


moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.sampled_from(ALL_MODELS), usages(), moments)
def test_rates_equal_the_oracle_for_any_model_usage_and_time(
    found: tuple[Provider, ModelInfo], usage: Usage, at: datetime
) -> None:
    provider, model = found
    rates = compile_rates(model.get_prices(at))
    cost = None if rates is None else rates.cost(usage)
    if cost is None:
        return  # no price at all, or output tokens that no rate covers

    expected = model.calc_price(oracle(usage), provider, genai_request_timestamp=at).total_price
    assert expected == cost.total


ORACLE_BOOK = PriceBook()


@given(
    st.sampled_from(ALL_MODELS),
    usages(),
    moments,
    st.sampled_from([None, "default", "flex", "priority", "fast", "batch"]),
)
def test_book_equals_calc_price_for_any_model_usage_time_and_tier(
    found: tuple[Provider, ModelInfo], usage: Usage, at: datetime, tier: str | None
) -> None:
    at = at.replace(microsecond=0)
    provider, model = found
    span = call(model.id, usage, provider=provider.id, started_ns=ns(at), service_tier=tier)
    cost = ORACLE_BOOK.cost(span)
    if cost is None:
        return

    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier or "default"}
    expected = calc_price(
        oracle(usage),
        model.id,
        provider_id=provider.id,
        genai_request_timestamp=at,
        price_context=context,
    ).total_price
    assert expected == cost.total


# --- time ---------------------------------------------------------------------------------


def at(hour: int, minute: int = 0, day: int = 20) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def test_off_peak_price_begins_and_ends_on_the_minute(book: PriceBook) -> None:
    moments = [at(0, 20), at(0, 40), at(16, 20), at(16, 29), at(16, 30), at(16, 45), at(17)]
    expected = [
        calc_price(
            oracle(MILLION), "deepseek-chat", provider_id="deepseek", genai_request_timestamp=moment
        ).total_price
        for moment in moments
    ]
    assert 2 == len(set(expected))

    found = [
        total(book, "deepseek-chat", MILLION, provider="deepseek", started_ns=ns(moment))
        for moment in moments
    ]
    assert expected == found


@pytest.fixture
def snapshot() -> Iterator[data_snapshot.DataSnapshot]:
    """Prices of our own: "timed" changes at 16:30 and from 21 November, "tiered" has it all."""
    dollars = [ModelPrice(input_mtok=Decimal(n), output_mtok=Decimal(n)) for n in range(9)]
    timed = ModelInfo(
        id="timed",
        match=ClauseEquals("timed"),
        prices=[
            ConditionalPrice(prices=dollars[1]),
            ConditionalPrice(
                TimeOfDateConstraint(clock_time(16, 30), clock_time(18)), prices=dollars[2]
            ),
            ConditionalPrice(StartDateConstraint(date(2026, 11, 21)), prices=dollars[4]),
        ],
    )
    tiered = ModelInfo(
        id="tiered",
        match=ClauseEquals("tiered"),
        prices=ModelPrice(
            input_mtok=TieredPrices(Decimal(1), [Tier(1000, Decimal(2))]),
            output_mtok=Decimal(10),
            output_reasoning_mtok=Decimal(20),
            requests_kcount=Decimal(5),
        ),
        price_variants=[
            PriceVariant(
                {"service_tier": "flex"},
                dollars[1],
                StartDateConstraint(date(2026, 11, 21)),
            )
        ],
    )
    provider = Provider(
        id="acme",
        name="Acme",
        api_pattern=r"https://api\.acme\.test",
        model_match=ClauseEquals("timed"),
        models=[timed, tiered],
    )
    custom = data_snapshot.DataSnapshot([provider], from_auto_update=False)
    data_snapshot.set_custom_snapshot(custom)
    yield custom
    data_snapshot.set_custom_snapshot(None)


def test_price_changes_as_time_passes(snapshot: object) -> None:
    book = PriceBook()
    moments = [at(16, 29), at(16, 30), at(17, 59), at(18), at(23, 59), at(0, 0, 21), at(16, 45, 21)]

    found = [total(book, "timed", Usage(1_000_000, 0), started_ns=ns(m)) for m in moments]

    assert list(map(Decimal, [1, 2, 2, 1, 1, 4, 4])) == found


def test_late_span_costs_what_its_own_time_says(snapshot: object) -> None:
    book = PriceBook()
    moments = [at(0, 0, 21), at(17), at(0, 0, 21)]

    found = [total(book, "timed", Usage(1_000_000, 0), started_ns=ns(m)) for m in moments]

    assert list(map(Decimal, [4, 2, 4])) == found


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("tier", [None, "flex"])
@pytest.mark.parametrize("day", [20, 21])
def test_steps_fees_reasoning_and_variants_agree_with_the_oracle(
    snapshot: data_snapshot.DataSnapshot, size: int, tier: str | None, day: int
) -> None:
    usage = Usage(size, 500, reasoning_tokens=100)
    context = {"service_tier": tier} if tier else None
    expected = snapshot.calc(oracle(usage), "tiered", "acme", None, at(1, 0, day), context)

    found = total(
        PriceBook(),
        "tiered",
        usage,
        provider="acme",
        service_tier=tier,
        started_ns=ns(at(1, 0, day)),
    )

    assert expected.total_price == found


# --- overrides ----------------------------------------------------------------------------

OWN = {"My-Finetune": {"input": 3, "output": 12}}


@pytest.mark.parametrize(
    ("model", "answered"),
    [
        ("my-finetune", None),
        ("MY-FINETUNE", None),
        ("gpt-4o", "My-Finetune"),
        ("My-Finetune", "gpt-4o"),
        ("my-finetune", "who-knows"),
    ],
)
def test_override_wins_by_either_name_in_any_case(model: str, answered: str | None) -> None:
    assert Decimal(15) == total(PriceBook(OWN), model, MILLION, response_model=answered)


def test_override_counts_from_the_next_call() -> None:
    book = PriceBook()
    before = total(book, "gpt-4o", MILLION)
    book.override({"gpt-4o": {"input": 1, "output": 1}})

    assert (Decimal("12.5"), Decimal(2)) == (before, total(book, "gpt-4o", MILLION))


def test_override_ignores_tier_and_time() -> None:
    book = PriceBook({"gpt-4o": {"input": 1, "output": 1}})

    assert Decimal(2) == total(book, "gpt-4o", MILLION, service_tier="priority", started_ns=0)


def test_bad_override_is_refused_and_leaves_the_old_ones() -> None:
    book = PriceBook(OWN)
    with pytest.raises(ConfigError):
        book.override({"my-finetune": {"input": -1, "output": 1}})

    assert Decimal(15) == total(book, "my-finetune", MILLION)


# --- hostility ----------------------------------------------------------------------------


def test_100_000_hostile_names_leave_bounded_caches(snapshot: data_snapshot.DataSnapshot) -> None:
    # Two known names among the hostile ones: these must stay right.
    book = PriceBook()
    for n in range(100_000):
        span = call(f"m{n}", CACHED, endpoint=f"http://{n}", service_tier=str(n))
        book.cost(span)
        book.provider(span)

    sizes = [len(found) for found in _tables(book)]
    assert max(sizes) <= 4 * MAX_RESOLVED
    assert Decimal(1) == total(book, "timed", Usage(1_000_000, 0), started_ns=ns(at(1)))


def test_hostile_names_do_not_grow_the_shared_price_data(book: PriceBook) -> None:
    shared = data_snapshot.get_snapshot()
    before = _sizes(shared)
    for n in range(50):
        total(book, f"hostile-{n}", CACHED, endpoint=f"http://hostile-{n}")

    assert before == _sizes(shared)


def _tables(book: PriceBook) -> list[Any]:
    found: list[Any] = [value for value in vars(book).values() if hasattr(value, "__len__")]
    for value in vars(book).values():
        if isinstance(value, data_snapshot.DataSnapshot):
            found += [value._lookup_cache, value._provider_cache, value._provider_misses]
    return found


def _sizes(data: data_snapshot.DataSnapshot) -> list[int]:
    return [len(data._lookup_cache), len(data._provider_cache), len(data._provider_misses)]


@pytest.mark.parametrize("started_ns", [0, -1, 253402300799 * NS, 1 << 62])
def test_any_start_time_can_be_priced(book: PriceBook, started_ns: int) -> None:
    assert total(book, "gpt-4o", MILLION, started_ns=started_ns) is not None


def test_resolved_model_needs_no_further_lookups(
    book: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = total(book, "gpt-4o", MILLION)
    monkeypatch.setattr(book, "_data", None)

    assert first == total(book, "gpt-4o", MILLION)
