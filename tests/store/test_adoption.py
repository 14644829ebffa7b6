"""Spans that were stored before their run was known are found with it."""

from tests.fakes.spans import span
from tocsin.model.span import Kind
from tocsin.store.adoption import spans_of_run
from tocsin.store.base import StoredSpan


def stored(span_id: str, parent: str | None, run_id: str | None) -> StoredSpan:
    made = span(Kind.STEP, span_id, parent_id=parent)
    return StoredSpan(span=made, workflow="w", run_id=run_id)


def ids(run_id: str, runs: set[str], *spans: StoredSpan) -> list[str]:
    return [found.span.span_id for found in spans_of_run(run_id, frozenset(runs), spans)]


def test_a_span_stored_early_belongs_to_what_is_above_it() -> None:
    spans = (
        stored("early", "middle", "early"),
        stored("middle", "root", "middle"),
        stored("root", None, "root"),
        stored("other", None, "other"),
        stored("below", "other", None),
    )
    assert ["early", "middle", "root"] == ids("root", {"root", "other"}, *spans)
    assert ["other", "below"] == ids("other", {"root", "other"}, *spans)


def test_a_span_without_any_way_up_belongs_to_the_only_run() -> None:
    spans = (stored("root", None, "root"), stored("lost", "gone", "lost"))
    assert ["root", "lost"] == ids("root", {"root"}, *spans)
    assert ["root"] == ids("root", {"root", "second"}, *spans)


def test_circles_end() -> None:
    spans = (stored("a", "b", None), stored("b", "a", None), stored("root", None, "root"))
    assert ["root"] == ids("root", {"root", "second"}, *spans)
