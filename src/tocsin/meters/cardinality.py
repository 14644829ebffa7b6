"""The cardinality guard: however many names arrive, the number of series is bounded."""

from typing import Final

__all__ = ["OTHER", "CardinalityGuard"]

OTHER: Final = "_other"
"""Label value under which everything beyond the limit is counted."""

MAX_VALUES: Final = 200
"""Values per label, over all metrics."""

MAX_COMBINATIONS: Final = 1_000
"""Combinations of open labels, over all metrics that have them: labels can multiply although each
is bounded."""

BOUNDED: Final = frozenset(
    {"outcome", "error", "direction", "detail", "cost_type", "limit", "action", "reason", "label"}
    | {"protocol", "signal", "code", "budget", "estimate", "event"}
)
"""Labels whose values are a closed set of our own, or of the configuration."""


class CardinalityGuard:
    """Lets the first MAX_VALUES values of each label through, and folds the rest into `_other`.

    A label has the same values in every metric, and so have combinations of labels: a workflow's
    model is either named everywhere or folded everywhere, and ratios between metrics stay right.
    """

    def __init__(
        self, max_values: int = MAX_VALUES, max_combinations: int = MAX_COMBINATIONS
    ) -> None:
        self._max_values = max_values
        self._max_combinations = max_combinations
        self._known: dict[str, set[str]] = {}
        self._combinations: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        self.overflows: dict[str, int] = {}
        """Label -> how many updates were folded."""

    def fold(
        self, labels: tuple[str, ...], values: tuple[str, ...], *, counted: bool = True
    ) -> tuple[str, ...]:
        """Return the values, each replaced by `_other` if its label is full.

        counted: add what is folded to `overflows`.
        """
        folded = self._fold_combination(labels, tuple(map(self._fold, labels, values)))
        if counted and folded != values:
            for label, before, after in zip(labels, values, folded, strict=True):
                if before != after:
                    self.overflows[label] = self.overflows.get(label, 0) + 1
        return folded

    def reset(self) -> None:
        """Forget every value and count."""
        self._known.clear()
        self._combinations.clear()
        self.overflows.clear()

    def _fold_combination(
        self, labels: tuple[str, ...], values: tuple[str, ...]
    ) -> tuple[str, ...]:
        pairs = [pair for pair in zip(labels, values, strict=True) if pair[0] not in BOUNDED]
        if len(pairs) < 2:
            return values
        names, combination = zip(*sorted(pairs), strict=True)
        known = self._combinations.setdefault(names, set())
        if combination in known:
            return values
        if len(known) < self._max_combinations:
            known.add(combination)
            return values
        # Outcomes, error classes and the like keep their sums.
        pairs = list(zip(labels, values, strict=True))
        return tuple(value if label in BOUNDED else OTHER for label, value in pairs)

    def _fold(self, label: str, value: str) -> str:
        if label in BOUNDED:
            return value
        known = self._known.setdefault(label, set())
        if value in known:
            return value
        if len(known) < self._max_values:
            known.add(value)
            return value
        return OTHER
