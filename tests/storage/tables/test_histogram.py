from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.storage.tables.histogram import buckets_of, middle, pack, quantiles, unpack

TIMES = st.floats(min_value=1e-9, max_value=1e9)


@given(TIMES)
def test_the_middle_of_a_bucket_is_at_most_5_percent_off(time: float):
    (bucket,) = buckets_of([time])
    assert abs(middle(bucket) - time) / time <= 0.05


@given(st.lists(TIMES, min_size=1, max_size=200), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_at_most_5_percent_off(times: list[float], part: float):
    exact = sorted(times)[max(1, math.ceil(part * len(times))) - 1]
    (found,) = quantiles(Counter(buckets_of(times)), [part])
    assert found is not None
    assert abs(found - exact) / exact <= 0.05


@given(st.lists(TIMES, max_size=50))
def test_a_packed_histogram_comes_back(times: list[float]):
    counted = Counter(buckets_of(times))
    assert unpack(*pack(counted)) == counted


@pytest.mark.parametrize("time", [0.0, -0.0, -3.5])
def test_no_time_and_negative_ones_count_as_none(time: float):
    assert quantiles(Counter(buckets_of([time])), [0.5]) == [0.0]


def test_negative_times_sort_before_others():
    assert quantiles(Counter(buckets_of([-1.0, -2.0, 1.0])), [0.5, 1.0]) == [
        0.0,
        pytest.approx(1.0, rel=0.05),
    ]


def test_without_times_there_are_no_quantiles():
    assert buckets_of([]) == []
    assert quantiles({}, [0.5, 0.9]) == [None, None]


@pytest.mark.parametrize("damaged", [(b"ab", b""), (b"a", b"abcd"), (b"", b"abcd")])
def test_a_damaged_histogram_is_refused(damaged: tuple[bytes, bytes]):
    with pytest.raises(ValueError, match=r"buckets|array|bytes"):
        unpack(*damaged)
