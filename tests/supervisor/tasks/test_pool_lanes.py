"""The lanes of pools: each has rows of its own, and all of them together with the rest make up the lane POOL."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy.storage.tables.schema import ID_BYTES, MAX_PRIORITY, READY, Lane, live_key, ready_sort
from understudy.supervisor.tasks.pool_lanes import (
    PoolLane,
    lane_in,
    lanes_of,
    pool_of,
    rows_between,
    rows_of,
)

NAMES = st.text("abcdef0123.-_", min_size=1, max_size=20)
PRIORITIES = st.integers(-MAX_PRIORITY, MAX_PRIORITY)
IDS = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)


def test_without_a_pool_they_are_the_lanes_themselves():
    assert lanes_of(None) == {lane: lane for lane in READY}
    assert rows_of(Lane.SYNC) == (live_key(Lane.SYNC, 0, b""), live_key(Lane.ASYNC, 0, b""))
    assert pool_of(Lane.SYNC) is None


@given(NAMES)
def test_each_lane_of_a_pool_is_one_object(pool: str):
    for lane in READY:
        found = lane_in(pool, lane)
        assert isinstance(found, PoolLane)
        assert lanes_of(pool)[lane] is found is lane_in(pool, lane)
        assert (found.pool, found.lane, pool_of(found)) == (pool, lane, pool)


@given(st.lists(NAMES, unique=True, max_size=5), st.data())
def test_a_key_lies_in_the_rows_of_its_lane_and_of_no_other(pools: list[str], data: st.DataObject):
    lanes = [lane for pool in pools for lane in lanes_of(pool).values() if isinstance(lane, PoolLane)]
    gaps = rows_between(lanes)
    for lane in lanes:
        key = live_key(Lane.POOL, lane.sort + ready_sort(data.draw(PRIORITIES)), data.draw(IDS))
        assert [each for each in lanes if rows_of(each)[0] <= key < rows_of(each)[1]] == [lane]
        assert not [part for part in gaps if part[0] <= key < part[1]]


@given(st.lists(NAMES, unique=True, max_size=4), st.integers(0, 2**64 - 1), IDS)
def test_the_rest_is_all_that_belongs_to_no_lane(pools: list[str], sort: int, id: bytes):
    lanes = [lane for pool in pools for lane in lanes_of(pool).values() if isinstance(lane, PoolLane)]
    key = live_key(Lane.POOL, sort, id)
    belongs = any(rows_of(lane)[0] <= key < rows_of(lane)[1] for lane in lanes)
    assert sum(first <= key < end for first, end in rows_between(lanes)) == (not belongs)


@given(NAMES, PRIORITIES, PRIORITIES, IDS, IDS)
def test_rows_sort_by_priority_and_age(pool: str, one: int, two: int, first: bytes, second: bytes):
    lane = lane_in(pool, Lane.SYNC)
    assert isinstance(lane, PoolLane)
    keys = [live_key(Lane.POOL, lane.sort + ready_sort(n), id) for n, id in ((one, first), (two, second))]
    assert (keys[0] < keys[1]) == ((-one, first) < (-two, second))
