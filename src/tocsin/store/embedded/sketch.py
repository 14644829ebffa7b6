"""Percentiles from counts of durations in buckets that grow by a constant factor.

DuckDB hands over one integer per bucket: point (27 bits), bucket (12), count (24), high to low; a
point is one group in one step. Sorting those integers sorts by point and by duration.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_POINTS", "Percentiles", "bucket_of", "middle_s", "pack", "percentiles"]

GROWTH: Final = 1.02
"""The middle of a bucket is within 1 % of everything in it."""
LEAST_NS: Final = 1_000
COUNT_BITS: Final = 24
BUCKET_BITS: Final = 12
POINT_SHIFT: Final = COUNT_BITS + BUCKET_BITS
MAX_POINTS: Final = 1 << 27

Integers = NDArray[np.int64]


class Percentiles(msgspec.Struct, frozen=True):
    """Arrays with one element per point that has any durations, ascending by point."""

    points: Integers
    counts: Integers
    buckets: list[Integers]
    """One array for each percentile asked for."""


def bucket_of(duration_ns: str) -> str:
    """Write the bucket of a duration, which is an SQL expression in nanoseconds."""
    return f"CAST(floor(ln(greatest({duration_ns}, {LEAST_NS})) / ln({GROWTH})) AS SMALLINT)"


def middle_s(bucket: int) -> float:
    """Return the duration that stands for all in a bucket, in seconds."""
    return float(GROWTH ** (bucket + 0.5)) / 1e9


def pack(point: str, bucket: str, count: str) -> str:
    """Write the integer that `percentiles` reads, from three SQL expressions."""
    most = (1 << COUNT_BITS) - 1
    return (
        f"(CAST({point} AS BIGINT) << {POINT_SHIFT})"
        f" + (CAST({bucket} AS BIGINT) << {COUNT_BITS}) + least({count}, {most})"
    )


def percentiles(packed: Integers, percents: Sequence[int]) -> Percentiles:
    """Find the nearest-rank percentiles of every point. packed: (N,), any order; is sorted."""
    packed.sort()
    points = packed >> POINT_SHIFT
    upto = np.cumsum(packed & ((1 << COUNT_BITS) - 1))
    last = np.flatnonzero(np.append(points[1:] != points[:-1], np.ones(min(1, len(points)), bool)))
    ends = upto[last]
    before = np.concatenate((np.zeros(1, np.int64), ends))[: len(ends)]
    counts = ends - before
    ranks = (before + -(-counts * percent // 100) for percent in percents)
    found = (packed[np.searchsorted(upto, rank)] for rank in ranks)
    buckets = [(value >> COUNT_BITS) & ((1 << BUCKET_BITS) - 1) for value in found]
    return Percentiles(points[last], counts, buckets)
