"""Percentiles from counts of durations in buckets that grow by a constant factor."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tocsin.errors import QueryError

__all__ = ["bucket_of", "middle_s", "percentiles"]

GROWTH: Final = 1.05
"""The middle of a bucket is within 2.5 % of everything in it."""
LEAST_NS: Final = 1_000
MAX_CELLS: Final = 8_000_000
"""Points times buckets: 64 MB of counts."""

Numbers = NDArray[Any]


def bucket_of(duration_ns: str) -> str:
    """Write the bucket of a duration, which is an SQL expression in nanoseconds."""
    return f"CAST(floor(ln(greatest({duration_ns}, {LEAST_NS})) / ln({GROWTH})) AS SMALLINT)"


@cache
def middle_s(bucket: int) -> float:
    """Return the duration that stands for all in a bucket, in seconds."""
    return float(GROWTH ** (bucket + 0.5)) / 1e9


def percentiles(
    points: Numbers, buckets: Numbers, counts: Numbers, percents: Sequence[int]
) -> list[tuple[int, ...]]:
    """Find the nearest-rank percentiles of every point.

    points, buckets, counts: (N,) each; any order, and any number of rows for a point and bucket.
    Returns point, how many durations it has, and the bucket of each percentile, ascending by point.
    Raises QueryError where that would take too much memory.
    """
    if not len(points):
        return []
    least, most = int(buckets.min()), int(buckets.max())
    width, height = most - least + 1, int(points.max()) + 1
    if width * height > MAX_CELLS:
        raise QueryError("too many groups and steps; take longer steps or only some of the groups")
    cells = points.astype(np.int64) * width + (buckets - least)
    upto = np.bincount(cells, weights=counts, minlength=width * height)
    upto = upto.reshape(height, width).cumsum(axis=1)
    present = np.flatnonzero(upto[:, -1])
    upto = upto[present]
    totals = upto[:, -1].astype(np.int64)
    # Whole numbers: 0.95 * 20 is more than 19.
    ranks = (-(-totals * percent // 100) for percent in percents)
    found = [(upto >= rank[:, None]).argmax(axis=1) + least for rank in ranks]
    return list(zip(*(column.tolist() for column in (present, totals, *found)), strict=True))
