import pytest

from tocsin.meters.cardinality import BOUNDED, MAX_VALUES, OTHER, CardinalityGuard

WORKFLOW = ("workflow",)


def test_values_up_to_the_limit_pass() -> None:
    guard = CardinalityGuard(3)

    assert [("a",), ("b",), ("c",), (OTHER,), ("a",)] == [
        guard.fold(WORKFLOW, (name,)) for name in "abcda"
    ]


def test_million_names_take_no_more_room_than_the_limit() -> None:
    guard = CardinalityGuard()
    for n in range(1_000_000):
        guard.fold(WORKFLOW, (str(n),))

    assert (MAX_VALUES, {"workflow": 1_000_000 - MAX_VALUES}) == (
        len(guard._known["workflow"]),
        guard.overflows,
    )


def test_labels_are_limited_each_by_itself() -> None:
    guard = CardinalityGuard(1)
    guard.fold(("tool", "workflow"), ("t", "w"))

    assert ("t", OTHER) == guard.fold(("tool", "workflow"), ("t", "x"))


def test_only_the_folded_label_is_counted() -> None:
    guard = CardinalityGuard(1)
    for name in "wxy":
        guard.fold(("tool", "workflow"), ("t", name))

    assert {"workflow": 2} == guard.overflows


@pytest.mark.parametrize("label", sorted(BOUNDED))
def test_our_own_closed_sets_are_never_folded(label: str) -> None:
    guard = CardinalityGuard(0)

    assert ("any",) == guard.fold((label,), ("any",))


def test_question_without_counting() -> None:
    guard = CardinalityGuard(0)

    assert ((OTHER,), {}) == (guard.fold(WORKFLOW, ("a",), counted=False), guard.overflows)


def test_user_may_call_something_other() -> None:
    guard = CardinalityGuard(0)

    assert ((OTHER,), {}) == (guard.fold(WORKFLOW, (OTHER,)), guard.overflows)
