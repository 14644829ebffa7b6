import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import QueryError
from tocsin.store.embedded.sketch import GROWTH, middle_s, percentiles

PERCENTS = (1, 50, 95, 99, 100)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(300, 340), st.integers(1, 9))))
def test_agrees_with_sorted_lists(rows: list[tuple[int, int, int]]) -> None:
    expected = []
    for point in sorted({row[0] for row in rows}):
        values = sorted(b for p, bucket, n in rows if p == point for b in [bucket] * n)
        ranks = [math.ceil(len(values) * percent / 100) for percent in PERCENTS]
        expected.append((point, len(values), *(values[rank - 1] for rank in ranks)))
    points, buckets, counts = (np.array([row[i] for row in rows], np.int32) for i in range(3))
    assert expected == percentiles(points, buckets, counts, PERCENTS)


@given(st.integers(1_000, 10**15))
def test_middle_of_a_bucket_is_near_all_in_it(duration_ns: int) -> None:
    bucket = math.floor(math.log(duration_ns) / math.log(GROWTH))
    assert middle_s(bucket) == pytest.approx(duration_ns / 1e9, rel=0.025)


def test_refuses_what_would_fill_the_memory() -> None:
    points = np.array([0, 1_000_000], np.int32)
    buckets = np.array([300, 600], np.int16)
    with pytest.raises(QueryError, match="longer steps"):
        percentiles(points, buckets, np.ones(2, np.int32), PERCENTS)
