from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.storage.tables.step_rows import (
    ENDS,
    KEPT,
    MARKS,
    NO_MARKS,
    PERIODS,
    Marks,
    Range,
    Step,
    cover,
    first_key,
    floor,
    level_for,
    name_hash,
    pack_marks,
    step_in,
    step_key,
    unpack_marks,
)

NOW = 1_800_000_123.4


@given(st.integers(0, 3), st.integers(0, 2**31), st.text(max_size=10))
def test_keys_give_back_what_they_hold(level: int, at: int, name: str):
    start = floor(at, level)
    key = step_key(level, start, name_hash(name))
    assert step_in(key) == (level, start, name_hash(name))
    assert first_key(level, start) <= key < first_key(level, start + PERIODS[level]) < MARKS
    assert key < first_key(level, None)


@pytest.mark.parametrize("key", [b"", b"\0short", b"\x09" + bytes(12)])
def test_a_malformed_key_is_refused(key: bytes):
    with pytest.raises(ValueError, match="not the key of a step"):
        step_in(key)


def marks_at(now: float) -> Marks:
    """Marks as they are when all is summed up."""
    one = floor(now, 1)
    two = floor(one, 2)
    return 0, one, two, floor(two, 3)


@given(
    st.floats(0, KEPT[-1]),
    st.floats(0, 3 * 86_400),
)
def test_a_window_is_covered_once_without_gaps(age: float, behind: float):
    start, marks = NOW - age, marks_at(NOW - behind)
    ranges = list(cover(start, NOW, marks))
    assert ranges[0].start <= start < ranges[0].start + PERIODS[level_for(age)]
    for before, after in pairwise(ranges):
        assert before.stop == after.start
    for level, begin, stop in ranges[:-1]:
        assert stop is not None
        assert begin % PERIODS[level] == stop % PERIODS[level] == 0
        assert stop <= marks[level or 1], "it is summed up"
    assert ranges[-1] == Range(0, ranges[-1].start, None)


@pytest.mark.parametrize("age", [60, 3_600, 7_200, 86_400, 2 * 86_400, 14 * 86_400])
def test_a_window_takes_few_rows(age: float):
    ranges = list(cover(NOW - age, NOW, marks_at(NOW)))
    rows = sum(((stop or int(NOW)) - begin) // PERIODS[level] + 1 for level, begin, stop in ranges)
    assert rows <= 400


def test_before_the_first_sums_all_is_read_from_the_shortest_steps():
    assert list(cover(NOW - 100, NOW, NO_MARKS)) == [Range(0, floor(NOW - 100, 0), None)]


@pytest.mark.parametrize(
    ("age", "level"), [(0, 0), (7_200, 0), (7_201, 1), (172_800, 1), (172_801, 2), (1_209_601, 3), (1e9, 3)]
)
def test_the_shortest_steps_that_reach_back(age: float, level: int):
    assert level_for(age) == level


def test_a_step_comes_back_and_adds_up():
    one = Step("etl", [1, 2, 3, 4, 5], Counter({7: 2}), Counter({9: 1}))
    assert Step.unpack(one.pack()) == one
    one.add(Step("etl", [1, 0, 0, 0, 1], Counter({7: 1, 8: 1}), Counter()))
    assert one == Step("etl", [2, 2, 3, 4, 6], Counter({7: 3, 8: 1}), Counter({9: 1}))


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"?",
        msgpack.packb([b"etl", [1], b"", b"", b"", b""]),
        msgpack.packb([b"etl", [0.5] * 5, b"", b"", b"", b""]),
        msgpack.packb([b"etl", [0] * 5, b"ab", b"", b"", b""]),
        msgpack.packb([b"etl", [0] * 5, b"", b""]),
        msgpack.packb([7, [0] * 5, b"", b"", b"", b""]),
    ],
)
def test_a_damaged_step_is_refused(row: bytes):
    with pytest.raises(ValueError, match="not the row of a step"):
        Step.unpack(row)


def test_marks_come_back_and_damaged_ones_count_as_none():
    marks = (0, 60, 600, 0)
    assert unpack_marks(pack_marks(marks)) == marks
    for damaged in (
        None,
        b"",
        b"?",
        msgpack.packb([1, 2]),
        msgpack.packb(["a", 1, 2]),
        msgpack.packb([-1, 0, 0]),
    ):
        assert unpack_marks(damaged) == NO_MARKS


def test_the_final_states_keep_their_places():
    assert list(map(str, ENDS)) == ["completed", "failed", "timed_out", "cancelled"]
